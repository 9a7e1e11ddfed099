// Runs modules as a browser would: reads a list of cases from standard input, writes flags and requested memory to standard output.
// case: {wasm, writes: [[offset, base64]], runs, reads: [[offset, byteCount]]}
import { readFileSync } from "node:fs";

const results = [];
for (const { wasm, writes, runs, reads } of JSON.parse(readFileSync(0, "utf8"))) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(wasm, "base64")));
  const memory = Buffer.from(exports.memory.buffer);
  for (const [offset, data] of writes) Buffer.from(data, "base64").copy(memory, offset);
  let flags = 0;
  for (let step = 0; step < runs && flags === 0; step += 1) flags = exports.run(1);
  results.push({ flags, reads: reads.map(([offset, size]) => memory.subarray(offset, offset + size).toString("base64")) });
}
process.stdout.write(JSON.stringify(results));
