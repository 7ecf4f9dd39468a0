"use strict";
/* Judges manifests twice: by the schemas of kubernetes-models (types, formats, required fields, patterns), and as literals
 * of its TypeScript interfaces, which takes no field that an interface does not know.
 *
 *     cp package.json package-lock.json DIR && cd DIR && npm ci && node .../check.js <list-of-objects.json
 *
 * Prints one line for every fault; the exit code is 1 when there are any. */
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const folder = process.cwd(); // with node_modules
const load = createRequire(path.join(folder, "any.js"));
const ts = load("typescript");

const nameOf = (object) => `${object.kind} ${object.metadata?.name}`;

const moduleOf = ({ apiVersion, kind }) => {
  const models = apiVersion.startsWith("monitoring.coreos.com/") ? "@kubernetes-models/prometheus-operator" : "kubernetes-models";
  return `${models}/${apiVersion}/${kind}`;
};

const bySchema = (object) => {
  try {
    const Model = load(moduleOf(object))[object.kind];
    new Model(object).validate();
    return [];
  } catch (fault) {
    return (fault.errors ?? [fault]).map((e) => `${nameOf(object)}: ${e.instancePath ?? ""} ${e.message.split("\n")[0]}`);
  }
};

/* One line for each object. */
const literals = (objects) => objects.map((object, at) => {
  const type = `import(${JSON.stringify(moduleOf(object))}).I${object.kind}`;
  return `export const _${at}: ${type} = ${JSON.stringify(object)};`;
}).join("\n");

const byInterface = (objects) => {
  const file = path.join(fs.mkdtempSync(path.join(folder, "literals-")), "manifests.ts");
  try {
    fs.writeFileSync(file, literals(objects));
    const program = ts.createProgram([file], { noEmit: true, strict: true, skipLibCheck: true, types: [],
      module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Node10, lib: ["lib.es2020.d.ts"] });
    const source = program.getSourceFile(file);
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((fault) => {
      const { line } = source.getLineAndCharacterOfPosition(fault.start);
      return `${nameOf(objects[line])}: ${ts.flattenDiagnosticMessageText(fault.messageText, " ")}`;
    });
  } finally {
    fs.rmSync(path.dirname(file), { recursive: true });
  }
};

const objects = JSON.parse(fs.readFileSync(0, "utf8"));
const faults = [...objects.flatMap(bySchema), ...byInterface(objects)];
faults.forEach((fault) => console.log(fault));
process.exitCode = faults.length ? 1 : 0;
