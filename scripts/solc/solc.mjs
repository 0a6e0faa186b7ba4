#!/usr/bin/env node
// The Solidity compiler as ape, py-solc-x, forge and slither expect it: npm's official WebAssembly build behind
// the command line of the native one.
//
// npm's own command line cannot serve them: it prints a line before the JSON, knows no `--combined-json`, and
// loses everything past 65,536 bytes on a pipe because it exits before the pipe has drained.
//
// Usage: solc --version
//        solc --standard-json [--base-path DIR] [--include-path DIR]... < input.json
//        solc --combined-json abi,bin,... [--optimize] [--optimize-runs N] [--via-ir] [--evm-version V] FILE... [A=B]...
// Other options are accepted and ignored (`--allow-paths` above all: nothing is read but what sources import).
//
// Results are kept in .cache/solc under the hash of compiler and input; BUSBAR_SOLC_CACHE=off turns that off.

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const CACHE = join(ROOT, ".cache/solc");
const CACHED_RESULTS = 300;
const WITH_VALUE = new Set([
  ...["--base-path", "--include-path", "--allow-paths", "--combined-json", "--optimize-runs", "--evm-version"],
  ...["--output-dir", "-o", "--metadata-hash", "--model-checker-engine", "--libraries", "--error-recovery"],
]);

const require = createRequire(join(ROOT, "package.json"));
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part).update("\0"), createHash("sha256")).digest("hex");

/** Writes everything before the process may end, however slowly the reader drains the pipe. */
function writeAll(descriptor, text) {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    try {
      written += fs.writeSync(descriptor, bytes, written);
    } catch (error) {
      if (error.code === "EPIPE") process.exit(0);
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function fail(message) {
  writeAll(2, `Error: ${message}\n`);
  process.exit(1);
}

/** Writes beside the target and renames, so that another compiler running now never reads half a file. */
function store(path, text) {
  try {
    fs.mkdirSync(dirname(path), { recursive: true });
    fs.writeFileSync(`${path}.${process.pid}`, text);
    fs.renameSync(`${path}.${process.pid}`, path);
  } catch {
    // A read-only checkout compiles all the same, only more slowly.
  }
}

function readOrNull(path) {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

let compiler;
/** Loads the compiler, which costs most of a second: only when an answer is not at hand. */
function load() {
  compiler ??= require("solc/wrapper")(require("solc/soljson.js"));
  return compiler;
}

/** The compiler's full version, e.g. `0.8.35+commit.0123abcd.Emscripten.clang`. */
function version() {
  const { size, mtimeMs } = fs.statSync(require.resolve("solc/soljson.js"));
  const path = join(CACHE, `version-${size}-${Math.floor(mtimeMs)}`);
  const known = readOrNull(path);
  if (known) return known;
  const found = load().version();
  store(path, found);
  return found;
}

function prune() {
  const entries = fs.readdirSync(CACHE).filter((name) => name.endsWith(".json"));
  if (entries.length <= CACHED_RESULTS) return;
  const byAge = entries.map((name) => [fs.statSync(join(CACHE, name)).mtimeMs, name]).sort(([a], [b]) => a - b);
  for (const [, name] of byAge.slice(0, entries.length - CACHED_RESULTS)) fs.rmSync(join(CACHE, name), { force: true });
}

/** Compiles standard JSON. Sources missing from the input are looked up in `folders`, first match wins. */
function compile(input, folders) {
  const read = {};
  const lookUp = (path) => {
    for (const folder of folders) {
      const contents = readOrNull(resolve(folder, path));
      if (contents !== null) return contents;
    }
    return null;
  };

  const useCache = process.env.BUSBAR_SOLC_CACHE !== "off";
  const entry = join(CACHE, `${sha256(version(), input, ...folders)}.json`);
  const known = useCache && readOrNull(entry);
  if (known) {
    const { imports, output } = JSON.parse(known);
    // Imported files are not part of the input: a result holds only while they read the same.
    if (Object.entries(imports).every(([path, hash]) => sha256(lookUp(path) ?? "") === hash)) return output;
  }

  const importCallback = (path) => {
    const contents = lookUp(path);
    read[path] = sha256(contents ?? "");
    return contents === null ? { error: "File not found" } : { contents };
  };
  const output = load().compile(input, { import: importCallback });
  if (useCache) {
    store(entry, JSON.stringify({ imports: read, output }));
    try {
      prune();
    } catch {
      // Another compiler is pruning too.
    }
  }
  return output;
}

/** The older output format, which slither asks for. */
function combinedJson(wanted, files, remappings, options, folders) {
  const selection = ["abi", "evm", "metadata", "userdoc", "devdoc", "storageLayout"];
  const settings = {
    remappings,
    optimizer: { enabled: options.has("--optimize"), runs: Number(options.get("--optimize-runs")?.[0] ?? 200) },
    outputSelection: { "*": { "*": selection, "": ["ast"] } },
  };
  if (options.has("--via-ir")) settings.viaIR = true;
  if (options.has("--evm-version")) settings.evmVersion = options.get("--evm-version")[0];

  const sources = {};
  for (const file of files) {
    const content = readOrNull(file);
    if (content === null) fail(`${file}: no such file.`);
    sources[file] = { content };
  }
  const result = JSON.parse(compile(JSON.stringify({ language: "Solidity", sources, settings }), folders));
  const errors = (result.errors ?? []).map((error) => error.formattedMessage).join("\n");
  if (errors) writeAll(2, `${errors}\n`);
  if ((result.errors ?? []).some((error) => error.severity === "error")) process.exit(1);

  const pick = {
    abi: (c) => c.abi,
    asm: (c) => c.evm.legacyAssembly,
    bin: (c) => c.evm.bytecode.object,
    "bin-runtime": (c) => c.evm.deployedBytecode.object,
    devdoc: (c) => c.devdoc,
    hashes: (c) => c.evm.methodIdentifiers,
    metadata: (c) => c.metadata,
    srcmap: (c) => c.evm.bytecode.sourceMap,
    "srcmap-runtime": (c) => c.evm.deployedBytecode.sourceMap,
    "storage-layout": (c) => c.storageLayout,
    userdoc: (c) => c.userdoc,
  };
  const contracts = {};
  for (const [file, found] of Object.entries(result.contracts ?? {})) {
    for (const [name, contract] of Object.entries(found)) {
      const chosen = wanted.filter((key) => pick[key]).map((key) => [key, pick[key](contract)]);
      contracts[`${file}:${name}`] = Object.fromEntries(chosen);
    }
  }
  const byId = Object.entries(result.sources ?? {}).sort(([, a], [, b]) => a.id - b.id);
  const asts = Object.fromEntries(byId.map(([file, source]) => [file, { AST: source.ast }]));
  return JSON.stringify({ contracts, sourceList: byId.map(([file]) => file), sources: asts, version: version() });
}

function main(argv) {
  const options = new Map();
  const plain = [];
  for (let i = 0; i < argv.length; i++) {
    const [name, attached] = argv[i].startsWith("--") ? argv[i].split(/=(.*)/s) : [argv[i]];
    if (!name.startsWith("-") || name === "-") plain.push(argv[i]);
    else {
      const value = attached ?? (WITH_VALUE.has(name) ? argv[++i] : true);
      options.set(name, [...(options.get(name) ?? []), value]);
    }
  }
  if (options.has("--version")) {
    writeAll(1, `solc, the solidity compiler commandline interface\nVersion: ${version()}\n`);
    return;
  }

  const base = options.get("--base-path")?.[0] || process.cwd();
  const folders = [base, ...(options.get("--include-path") ?? [])].map((folder) => resolve(folder));
  if (options.has("--standard-json")) {
    const file = plain.find((argument) => argument !== "-");
    const input = fs.readFileSync(file ?? 0, "utf8");
    writeAll(1, `${compile(input, folders)}\n`);
  } else if (options.has("--combined-json")) {
    const wanted = options.get("--combined-json")[0].split(",");
    const remappings = plain.filter((argument) => argument.includes("="));
    const files = plain.filter((argument) => !argument.includes("=") && argument !== "-");
    writeAll(1, `${combinedJson(wanted, files, remappings, options, folders)}\n`);
  } else {
    fail("this compiler answers --version, --standard-json and --combined-json only.");
  }
}

main(process.argv.slice(2));
