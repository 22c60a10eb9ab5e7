// Plays scripts that Python has written (tests/crdt/histories.py) and decodes what it has spelled: one JSON task a line
// on standard input, one result a line on standard output. tests/crdt/test_typescript.py compares.

import {
  CRDTError,
  Context,
  Fugue,
  HLC,
  KINDS,
  type Kind,
  ORMap,
  Replicated,
  fromJSON,
  fromMsgpack,
  toJSON,
  toMsgpack,
} from "../src/index";
import { packed } from "../src/msgpack";
import { compareText, freeze, written } from "../src/value";

type Path = [key: string, kind: string][];
type Step =
  | ["new", name: string, kind: string, replica: string]
  | ["do", name: string, target: string, path: Path, method: string, args: unknown[]]
  | ["merge", target: string, other: string]
  | ["since", name: string, target: string, other: string]
  | ["collect", target: string, others: string[]]
  | ["copy", name: string, target: string, replica: string, form: "json" | "msgpack"]
  | ["now", ms: number];

type Task = { script: Step[] } | { json: string } | { msgpack: string } | { value: unknown };

class Play {
  readonly objects = new Map<string, Replicated>();
  readonly errors: [number, string][] = [];
  private nowMs = 1_000;

  constructor(script: Step[]) {
    script.forEach((step, at) => {
      try {
        this.step(step);
      } catch (error) {
        if (!(error instanceof CRDTError)) throw error;
        this.errors.push([at, error.name]);
      }
    });
  }

  private step(step: Step): void {
    const known = (name: string): Replicated | undefined => this.objects.get(name);
    switch (step[0]) {
      case "new": {
        this.objects.set(step[1], new (kindOf(step[2]))(step[3], { clock: this.clock() }));
        break;
      }
      case "do": {
        const target = known(step[2]);
        if (target) this.objects.set(step[1], call(target, step[3], step[4], step[5]));
        break;
      }
      case "merge": {
        const [target, other] = [known(step[1]), known(step[2])];
        if (target && other) target.merge(other);
        break;
      }
      case "since": {
        const [target, other] = [known(step[2]), known(step[3])];
        if (target && other) this.objects.set(step[1], target.deltaSince(other.context));
        break;
      }
      case "collect": {
        const contexts = step[2].map((name) => known(name)!.context);
        known(step[1])!.collect(contexts.reduce((one: Context, other) => one.and(other)));
        break;
      }
      case "copy": {
        const target = known(step[2]);
        const options = { replica: step[3], clock: this.clock() };
        if (!target) break;
        const copy =
          step[4] === "json"
            ? fromJSON(toJSON(target), target._kind, options)
            : fromMsgpack(toMsgpack(target), target._kind, options);
        this.objects.set(step[1], copy);
        break;
      }
      case "now":
        this.nowMs = step[1];
    }
  }

  private clock(): HLC {
    return new HLC(() => this.nowMs);
  }
}

function kindOf(name: string): Kind {
  return KINDS.get(name)!;
}

function call(target: Replicated, path: Path, method: string, args: unknown[]): Replicated {
  const [first, ...rest] = path;
  if (first) {
    return (target as ORMap).update(first[0], kindOf(first[1]), (nested) => call(nested, rest, method, args));
  }
  const fitted = target instanceof Fugue ? fit(target.length, method, args as number[]) : args;
  return (target as unknown as Record<string, (...args: unknown[]) => Replicated>)[method]!(...fitted);
}

// Indices into lists are taken modulo their length.
function fit(length: number, method: string, args: number[]): unknown[] {
  const [index, count] = args as [number, number];
  if (method === "insert") return [index % (length + 1), ...args.slice(1)];
  if (method !== "delete") return args;
  const start = length ? index % length : 0;
  return [start, Math.min(count, length - start)];
}

// An object in every form.
function forms(state: Replicated): unknown {
  return { json: toJSON(state), msgpack: toHex(toMsgpack(state)), value: written(sortSets(state)) };
}

// The value as canonical JSON, where sets are sorted by their elements' JSON.
function sortSets(state: Replicated): ReturnType<typeof freeze> {
  if (state instanceof ORMap) return freeze(Object.fromEntries([...state].map(([key, each]) => [key, sortSets(each)])));
  const value = freeze(state.value);
  if (!state._kind.kind.endsWith("set")) return value;
  return (value as unknown[]).map((each) => written(freeze(each))).sort(compareText);
}

function decoded(read: () => Replicated): unknown {
  try {
    const state = read();
    return { json: toJSON(state), msgpack: toHex(toMsgpack(state)) };
  } catch (error) {
    if (!(error instanceof CRDTError)) throw error;
    return { error: error.name };
  }
}

function done(task: Task): unknown {
  if ("script" in task) {
    const { objects, errors } = new Play(task.script);
    return { errors, objects: Object.fromEntries([...objects].map(([name, state]) => [name, forms(state)])) };
  }
  if ("json" in task) {
    const text = utf8(fromHex(task.json));
    return text === null ? { error: "Malformed" } : decoded(() => fromJSON(text, Replicated));
  }
  if ("msgpack" in task) return decoded(() => fromMsgpack(fromHex(task.msgpack), Replicated));
  const value = freeze(task.value);
  return { json: written(value), msgpack: toHex(packed(value)) };
}

function utf8(data: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return null;
  }
}

function toHex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

// The few words of Node that this file needs.
declare const process: {
  stdin: AsyncIterable<Uint8Array>;
  stdout: { write(text: string): void };
};

const chunks: string[] = [];
const decoder = new TextDecoder();
for await (const chunk of process.stdin) chunks.push(decoder.decode(chunk, { stream: true }));
const lines = chunks.join("").split("\n").filter(Boolean);
process.stdout.write(lines.map((line) => JSON.stringify(done(JSON.parse(line) as Task)) + "\n").join(""));
