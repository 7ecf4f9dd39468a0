"""Who gets in: token sources, encodings, algorithms."""
import pytest
from harness.tokens import ASYMMETRIC, HMAC, kid_of, token_forms

FORMS = ("raw", "base64", "base64-unpadded", "base64url", "base64url-unpadded")


def refused(stack, changes, target="/ws"):
    """The error frame of a refused upgrade in `close` mode."""
    client = stack.raw()
    answer = client.upgrade(target, changes)
    assert answer and answer.status == 101, answer
    frame = client.recv_json()
    assert client.recv_close() == (1008, "Authentication failed")
    return frame


def admitted(stack, changes, user="alice", target="/ws"):
    """The answer to an upgrade that has to be good."""
    client = stack.raw()
    answer = client.upgrade(target, changes)
    assert answer and answer.status == 101, answer
    frame = client.recv_json()
    assert frame["type"] == "connection_established", frame
    assert frame["data"]["user_id"] == user
    return answer


def never_shown(bridge, answer, token):
    """No trace of the token in the reply or in the log."""
    signature = token.rsplit(".", 1)[1]
    shown = "".join(answer.headers.values()) + "\n".join(bridge.text)
    assert signature not in shown
    assert not any(form in shown for form in token_forms(token).values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_authorization_header(bridge, stack, scheme, form):
    """`Authorization: Bearer T`, the scheme in any case, in every encoding."""
    token = stack.keys.token()
    answer = admitted(stack, {"Authorization": f"{scheme} {token_forms(token)[form]}"})
    assert "sec-websocket-protocol" not in answer.headers
    never_shown(bridge, answer, token)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("entry", ["jwt", "jwt-auth", "bearer"])
def test_subprotocol_entry(bridge, stack, entry, form):
    """`jwt.T`, `jwt-auth.T`, `bearer.T` in every encoding; the entry is never echoed."""
    token = stack.keys.token()
    carrier = f"{entry}.{token_forms(token)[form]}"
    alone = admitted(stack, {"Sec-WebSocket-Protocol": carrier})
    assert "sec-websocket-protocol" not in alone.headers
    before = admitted(stack, {"Sec-WebSocket-Protocol": f"{carrier}, agent_chat"})
    after = admitted(stack, {"Sec-WebSocket-Protocol": f"jwt-auth,{carrier}"})
    lines = admitted(stack, {"Sec-WebSocket-Protocol": ["agent_chat", carrier]})
    assert before.headers["sec-websocket-protocol"] == lines.headers["sec-websocket-protocol"] == "agent_chat"
    assert after.headers["sec-websocket-protocol"] == "jwt-auth"
    for answer in (alone, before, after, lines):
        never_shown(bridge, answer, token)


def test_order_of_sources(bridge, stack):
    """The header comes first, good or bad; an Authorization header of another scheme is no source."""
    assert bridge
    good, other = stack.keys.token("alice"), stack.keys.token("bob")
    admitted(stack, {"Authorization": f"Bearer {good}", "Sec-WebSocket-Protocol": f"jwt.{other}"})
    admitted(stack, {"Sec-WebSocket-Protocol": f"jwt.{good}, bearer.{other}"})
    admitted(stack, {"Authorization": "Basic YTpi", "Sec-WebSocket-Protocol": f"jwt.{good}"})
    frame = refused(stack, {"Authorization": "Bearer rubbish", "Sec-WebSocket-Protocol": f"jwt.{good}"})
    assert frame["error_code"] == "JWT_FORMAT_INVALID"


def test_query_token(stack, runtime):
    """The query string counts only with allow-query-token."""
    token = stack.keys.token()
    closed = stack.bridge(runtime)
    assert refused(stack, {}, f"/ws?token={token}")["error_code"] == "JWT_TOKEN_MISSING"
    closed.stop()
    stack.bridge(stack.runtime(), allow_query_token=True)
    admitted(stack, {}, target=f"/ws?token={token}")
    admitted(stack, {}, target=f"/ws?a=b&token={token}&c=d")
    assert refused(stack, {}, "/ws?token=")["error_code"] in ("JWT_TOKEN_MISSING", "JWT_FORMAT_INVALID")


def test_hmac_algorithms(bridge, stack):
    """HS256, HS384, HS512 with a configured secret; the asymmetric ones are not accepted then."""
    for alg in HMAC:
        admitted(stack, {"Authorization": "Bearer " + stack.keys.token(alg=alg)})
    for alg in ASYMMETRIC:
        frame = refused(stack, {"Authorization": "Bearer " + stack.keys.token(alg=alg)})
        assert frame["error_code"] == "VALIDATION_FAILED"
    assert bridge.metric("handshakes_total", result="ok") == len(HMAC)
    assert bridge.metric("handshakes_total", result="validation_failed") == len(ASYMMETRIC)


def test_secret_file(runtime, stack, tmp_path):
    """The secret from a file; one newline at its end is not part of it."""
    (tmp_path / "secret").write_text(stack.keys.secret + "\n")
    stack.bridge(runtime, jwt_secret=None, jwt_secret_file=tmp_path / "secret")
    admitted(stack, {"Authorization": "Bearer " + stack.keys.token()})


def test_pem_file(runtime, stack, tmp_path):
    """RSA, PSS, EC and Ed25519 with public keys in one PEM file; a public key is no HMAC secret."""
    (tmp_path / "keys.pem").write_bytes(stack.keys.pem())
    bridge = stack.bridge(runtime, jwt_secret=None, jwt_public_key_file=tmp_path / "keys.pem", max_connections_per_user=50)
    for alg in ASYMMETRIC:
        admitted(stack, {"Authorization": "Bearer " + stack.keys.token(alg=alg)})
    frame = refused(stack, {"Authorization": "Bearer " + stack.keys.token(alg="HS256")})
    assert frame["error_code"] == "VALIDATION_FAILED"
    assert bridge.metric("handshakes_total", result="ok") == len(ASYMMETRIC)


def test_jwks_file(runtime, stack, tmp_path):
    """Every algorithm with a key set, with and without kid; an unknown kid is refused."""
    (tmp_path / "jwks.json").write_text(stack.keys.jwks())
    stack.bridge(runtime, jwt_secret=None, jwks_file=tmp_path / "jwks.json", max_connections_per_user=50)
    for alg in HMAC + ASYMMETRIC:
        admitted(stack, {"Authorization": "Bearer " + stack.keys.token(alg=alg, kid=kid_of(alg))})
    admitted(stack, {"Authorization": "Bearer " + stack.keys.token(alg="EdDSA")})
    frame = refused(stack, {"Authorization": "Bearer " + stack.keys.token(alg="EdDSA", kid="nobody")})
    assert frame["error_code"] == "VALIDATION_FAILED"


def test_algorithm_list(runtime, stack, tmp_path):
    """jwt-algorithms narrows what the keys would serve."""
    (tmp_path / "keys.pem").write_bytes(stack.keys.pem())
    stack.bridge(runtime, jwt_public_key_file=tmp_path / "keys.pem", jwt_algorithms="PS256,ES256")
    for alg in HMAC + ASYMMETRIC:
        changes = {"Authorization": "Bearer " + stack.keys.token(alg=alg)}
        if alg in ("PS256", "ES256"):
            admitted(stack, changes)
        else:
            assert refused(stack, changes)["error_code"] == "VALIDATION_FAILED"


def test_user_claim(runtime, stack):
    """jwt-user-claim names another claim."""
    stack.bridge(runtime, jwt_user_claim="email")
    token = stack.keys.token("ignored", email="a@b.example")
    admitted(stack, {"Authorization": "Bearer " + token}, user="a@b.example")
    frame = refused(stack, {"Authorization": "Bearer " + stack.keys.token("alice")})
    assert frame["error_code"] == "MISSING_USER_ID"


def test_issuer_and_audience(runtime, stack):
    """Both are demanded when they are set; `aud` may be a list."""
    stack.bridge(runtime, jwt_issuer="https://id.example", jwt_audience="chat")
    good = {"iss": "https://id.example", "aud": "chat"}
    for claims in (good, {**good, "aud": ["x", "chat"]}):
        admitted(stack, {"Authorization": "Bearer " + stack.keys.token(**claims)})
    for claims in ({}, {**good, "iss": "https://id.example/"}, {**good, "aud": "chat2"}, {**good, "aud": ["x"]},
                   {"iss": good["iss"]}, {"aud": "chat"}):
        frame = refused(stack, {"Authorization": "Bearer " + stack.keys.token(**claims)})
        assert frame["error_code"] == "VALIDATION_FAILED", claims


@pytest.mark.parametrize("exp, leeway, good", [(-20, 30, True), (-40, 30, False), (-5, 0, False)])
def test_leeway(runtime, stack, exp, leeway, good):
    """jwt-leeway-s is what a token may be late."""
    stack.bridge(runtime, jwt_leeway_s=leeway)
    changes = {"Authorization": "Bearer " + stack.keys.token(ttl=exp)}
    if not good:
        assert refused(stack, changes)["error_code"] == "TOKEN_EXPIRED"
        return
    client = stack.raw()
    assert client.upgrade(changes=changes).status == 101
    assert client.recv_json()["type"] == "connection_established"


def test_exp_not_required(runtime, stack):
    """jwt-require-exp=false takes a token without `exp`."""
    stack.bridge(runtime, jwt_require_exp=False)
    admitted(stack, {"Authorization": "Bearer " + stack.keys.token(drop=("exp",))})
