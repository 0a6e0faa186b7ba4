// Completes package-lock.json for platforms whose packages the maintainer's registry does not carry.
//
// Foundry's packages choose their binary among optional packages, one per platform. npm leaves out of the lock
// file what it cannot find, and `npm ci` then refuses the file on every platform. Such packages are entered here
// by exact version and platform; they carry no hash until someone runs `make lock` against a complete registry.
//
// Usage: node scripts/complete_lock.mjs   (part of `make lock`)

import { readFileSync, writeFileSync } from "node:fs";

const LOCK = new URL("../package-lock.json", import.meta.url);
const OS = { darwin: "darwin", linux: "linux", win32: "win32" };
const CPU = { amd64: "x64", arm64: "arm64" };

const lock = JSON.parse(readFileSync(LOCK, "utf8"));
const added = [];
for (const [place, entry] of Object.entries({ ...lock.packages })) {
  if (!place.startsWith("node_modules/@foundry-rs/")) continue;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key]) continue;
    const [cpu, os] = name.split("-").reverse();
    lock.packages[key] = { version, cpu: [CPU[cpu]], license: entry.license, optional: true, os: [OS[os]] };
    added.push(name);
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(LOCK, `${JSON.stringify(lock, null, 2)}\n`);
const unhashed = Object.entries(lock.packages).filter(([place, entry]) => place && !entry.integrity).map(([place]) => place);
console.log(`${added.length} platforms entered; without a hash: ${unhashed.join(", ") || "none"}`);
