/**
 * A far network on this machine: two network namespaces and a wire between them that delays packets
 * and loses some (`wire.py`, since not every kernel has netem).
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './measure.ts'
import { cleanWhenStopped } from './stopping.ts'
import { findProgram } from './tools.ts'

/** Each way; twice this is the round trip. */
export const DELAY_MS = 40
/** Each way. */
export const LOSS_PERCENT = 1
/** Of the end that has store and servers. */
export const NEAR_ADDRESS = '10.213.37.1'
const FAR_ADDRESS = '10.213.37.2'
/** Packets that may wait for the wire; fewer would lose more than was asked for. */
const QUEUE_PACKETS = 10_000

/** Network namespaces of the two ends. */
export interface Wire extends AsyncDisposable {
  servers: string
  clients: string
  /** Of the program that is the wire; with SIGUSR1 what it loses begins anew, with SIGUSR2 as other weather. */
  pid: number
}

/** Why there can be no such wire here; `undefined` when there can. */
export function findFarObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'it is made of network namespaces, which are Linux’'
  if (process.getuid?.() !== 0) return 'network namespaces are for root'
  if (!existsSync('/dev/net/tun')) return 'no /dev/net/tun here'
  const missing = ['ip', 'python3'].filter((name) => findProgram(name) === undefined)
  return missing.length === 0 ? undefined : `no ${missing.join(', ')} here`
}

/** Lays a wire whose ends use a congestion control, `cubic` for example. Disposing of it takes it up. */
export async function layWire(control: string): Promise<Wire> {
  const near = {
    name: `bench-near-${process.pid}`,
    device: `near${process.pid}`,
    address: NEAR_ADDRESS,
  }
  const far = {
    name: `bench-far-${process.pid}`,
    device: `far${process.pid}`,
    address: FAR_ADDRESS,
  }
  const ends = [near, far]
  await using stack = new AsyncDisposableStack()
  const { pid, stop } = await startWire(near.device, far.device)
  stack.defer(stop)
  const remove = () => {
    for (const { name } of ends) execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
  }
  for (const { name } of ends) await run({ words: ['ip', 'netns', 'add', name] })
  stack.defer(remove)
  stack.defer(cleanWhenStopped(remove))
  for (const { name, device, address } of ends) {
    await run({
      words: ['ip', 'link', 'set', device, 'netns', name, 'txqueuelen', String(QUEUE_PACKETS)],
    })
    const within = (...words: string[]) => run({ words: ['ip', '-n', name, ...words] })
    await within('link', 'set', 'lo', 'up')
    await within('address', 'add', `${address}/30`, 'dev', device)
    await within('link', 'set', device, 'mtu', '1500', 'up')
    // By the route rather than the namespace: a namespace takes only what the machine allows to all.
    const subnet = ['10.213.37.0/30', 'dev', device, 'src', address]
    await within('route', 'replace', ...subnet, 'congctl', control)
  }
  const held = stack.move()
  return {
    servers: near.name,
    clients: far.name,
    pid,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

/** Starts the program that is the wire; resolves once both devices are there. */
async function startWire(near: string, far: string) {
  const program = join(import.meta.dirname, 'wire.py')
  const words = [program, near, far, String(DELAY_MS), String(LOSS_PERCENT)]
  // It ends with its input, and so with this program.
  const wire = spawn(findProgram('python3') ?? 'python3', words, {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(wire, 'exit')
  await Promise.race([
    once(wire.stdout, 'data'),
    ended.then(([code]) => {
      throw new Error(`Cannot lay a wire: it ended with ${code}`)
    }),
  ])
  const stop = async () => {
    wire.stdin.end()
    await ended
  }
  return { pid: wire.pid ?? 0, stop }
}
