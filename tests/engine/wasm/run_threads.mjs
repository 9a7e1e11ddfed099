// Runs one module whose memory is shared, with helpers in worker threads, as a page with several Workers would.
// Standard input: {wasm, pages, word, helpers, writes: [[offset, base64]], runs, reads: [[offset, byteCount]]}
// Standard output: {flags, reads}
import { readFileSync } from "node:fs";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const IDLE = 8;

if (isMainThread) {
  const request = JSON.parse(readFileSync(0, "utf8"));
  const module = new WebAssembly.Module(Buffer.from(request.wasm, "base64"));
  const memory = new WebAssembly.Memory({ initial: request.pages, maximum: request.pages, shared: true });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const bytes = Buffer.from(memory.buffer);
  for (const [offset, data] of request.writes) Buffer.from(data, "base64").copy(bytes, offset);
  const control = new Int32Array(new SharedArrayBuffer(8)); // [run number, helpers that left it]
  const started = Array.from({ length: request.helpers }, (_, index) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { module, memory, control, slot: index + 1 } });
    return new Promise((resolve) => worker.once("message", resolve));
  });
  await Promise.all(started);
  const words = new Int32Array(memory.buffer);
  let flags = 0;
  for (let run = 1; run <= request.runs && flags === 0; run += 1) {
    Atomics.store(words, request.word / 4, 0);
    Atomics.store(control, 1, 0);
    Atomics.store(control, 0, run);
    Atomics.notify(control, 0);
    flags = exports.run(1);
    for (let left = Atomics.load(control, 1); left < request.helpers; left = Atomics.load(control, 1)) Atomics.wait(control, 1, left);
  }
  const reads = request.reads.map(([offset, size]) => Buffer.from(bytes.subarray(offset, offset + size)).toString("base64"));
  process.stdout.write(JSON.stringify({ flags, reads }), () => process.exit(0));
} else {
  const { module, memory, control, slot } = workerData;
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  parentPort.postMessage("ready");
  for (let run = 0; ; run += 1) {
    Atomics.wait(control, 0, run);
    while (exports.assist(slot) === IDLE);
    Atomics.add(control, 1, 1);
    Atomics.notify(control, 1);
  }
}
