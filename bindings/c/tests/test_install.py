"""What is installed: the README's first program built with pkg-config and with find_package, against the real bridge; and which
symbols the library has."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from c_runtime import CRuntime, built

HERE = pathlib.Path(__file__).resolve().parent
SANITIZED = os.environ.get("AGENTBRIDGE_BUILD") in ("asan", "tsan")
CMAKE = """cmake_minimum_required (VERSION 3.22)
project (consumer C)
find_package (agentbridge 0.1 REQUIRED)
add_executable (shared echo.c)
target_link_libraries (shared PRIVATE agentbridge::agentbridge)
add_executable (static echo.c)
target_link_libraries (static PRIVATE agentbridge::agentbridge_static)
"""


def run(*command, **options):
    """Run to the end; its output."""
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def readme_program():
    """The first block of C of the README."""
    return re.search(r"```c\n(.*?)```", (HERE.parent / "README.md").read_text(), re.S)[1]


@pytest.fixture(scope="session", name="prefix")
def prefix_fixture(tmp_path_factory):
    """Where the library is installed, with echo.c beside it."""
    prefix = tmp_path_factory.mktemp("installed")
    build = pathlib.Path(built("")).parents[1]
    run("cmake", "--install", str(build), "--component", "agentbridge-c", "--prefix", str(prefix))
    (prefix / "echo.c").write_text(readme_program())
    return prefix


def libdir(prefix):
    """lib, or what the distribution has below it."""
    return next(prefix.rglob("libagentbridge.so")).parent


def pkg_config(prefix, *words):
    """Its words for the compiler."""
    return run("pkg-config", *words, "agentbridge",
               env={**os.environ, "PKG_CONFIG_PATH": str(libdir(prefix) / "pkgconfig")}).split()


def test_what_is_installed(prefix):
    """These files, and no part of the bridge."""
    files = {path.name for path in prefix.rglob("*") if not path.is_dir()} - {"echo.c"}
    version = pkg_config(prefix, "--modversion")[0]
    assert {name for name in files if not re.fullmatch(r"agentbridge-targets-[a-z]+\.cmake", name)} == {
        "agentbridge.h", "agentbridge.pc", "libagentbridge.a", "libagentbridge.so", "libagentbridge.so.0",
        f"libagentbridge.so.{version}", "agentbridge-config.cmake", "agentbridge-config-version.cmake",
        "agentbridge-targets.cmake"}


def symbols(*command):
    """Names of symbols, as nm tells them; without those that a sanitizer adds."""
    names = {line.split()[-1] for line in run("nm", *command).splitlines() if len(line.split()) == 3}
    return {name for name in names if not (SANITIZED and name.startswith("__"))}


def test_symbols(prefix):
    """The shared library exports exactly what the header declares; the static one has no name that could meet another's."""
    declared = set(re.findall(r"^ABR_EXPORT [^;]*?(abr_\w+) \(", (prefix / "include/agentbridge.h").read_text(), re.M))
    assert len(declared) > 70
    assert symbols("-D", "--defined-only", str(libdir(prefix) / "libagentbridge.so")) == declared
    inside = symbols("--defined-only", "--extern-only", str(libdir(prefix) / "libagentbridge.a"))
    assert declared < inside
    assert not [name for name in inside if not name.startswith("abr_")]


def talk(stack, program):
    """One message to it through the bridge."""
    runtime = CRuntime(stack, program=str(program)).start()
    stack.bridge(runtime)
    client = stack.connect()
    client.send('{"type":"user_message"}')
    started, completed = client.recv_events(2)
    assert (started["type"], started["task_description"]) == ("agent_started", '{"type":"user_message"}')
    assert (completed["type"], completed["final_response"]) == ("agent_completed", "You said it.")


@pytest.mark.skipif(SANITIZED, reason="programs without the sanitizer cannot load such a library")
def test_readme_program(prefix, stack):
    """Built as printed it knows only the default ports, which may be taken: with two lines more it runs on others."""
    words = pkg_config(prefix, "--cflags", "--libs")
    strict = ["cc", "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    run(*strict, str(prefix / "echo.c"), *words, "-o", str(prefix / "as-printed"))
    (prefix / "elsewhere.c").write_text(elsewhere())
    run(*strict, str(prefix / "elsewhere.c"), *words, f"-Wl,-rpath,{libdir(prefix)}", "-o", str(prefix / "elsewhere"))
    talk(stack, prefix / "elsewhere")


def elsewhere():
    """The README's program with endpoints from the command line."""
    made = readme_program().replace("int main (void)", "int main (int argc, char **argv)")
    made = made.replace('abr_new ("echo");\n', 'abr_new ("echo");\n    if (argc != 3 || abr_set_commands (abr, argv[1]) '
                                               '|| abr_set_events (abr, argv[2]))\n        return 1;\n')
    assert "argv[2]" in made and "argc, char" in made
    return made


@pytest.mark.skipif(SANITIZED, reason="programs without the sanitizer cannot load such a library")
def test_find_package(prefix, stack, tmp_path):
    """The CMake package: shared and static."""
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    (tmp_path / "echo.c").write_text(elsewhere())
    run("cmake", "-S", str(tmp_path), "-B", str(tmp_path / "b"), f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", str(tmp_path / "b"))
    talk(stack, tmp_path / "b" / "shared")
    talk(stack, tmp_path / "b" / "static")


@pytest.mark.skipif(SANITIZED, reason="programs without the sanitizer cannot load such a library")
def test_header_in_cplusplus(prefix, tmp_path):
    """The header is C++ too."""
    (tmp_path / "x.cc").write_text('#include <agentbridge.h>\nint main () { const abr_field_t f[] = {abr_int ("n", 1), '
                                   'abr_end ()}; return abr_emit (nullptr, "u", "t", f) == -1 ? 0 : 1; }\n')
    words = pkg_config(prefix, "--cflags", "--libs")
    compiler = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if not compiler:
        pytest.skip("no C++ compiler")
    run(compiler, "-Wall", "-Wextra", "-Werror", str(tmp_path / "x.cc"), *words, f"-Wl,-rpath,{libdir(prefix)}",
        "-o", str(tmp_path / "x"))
    run(str(tmp_path / "x"))
