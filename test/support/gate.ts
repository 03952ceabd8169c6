/**
 * A TCP gate in front of a server: lets bytes through until it is told to hold them, so that a test
 * can act in the very middle of a transfer without guessing how long that takes.
 *
 *     await using gate = await openGate(server.port)
 *     const held = gate.holdAfter('up', 5_000_000)
 *     …start a client on gate.url…
 *     await held
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** `up`: from the client to the server. */
export type Direction = 'up' | 'down'

export interface Gate extends AsyncDisposable {
  readonly url: string
  /** Bytes that went through so far. */
  readonly passed: Record<Direction, number>
  /** After so many bytes from now nothing goes that way; resolves when the first byte is held back. */
  holdAfter(direction: Direction, bytes: number): Promise<void>
  /** Lets through what is held back, and everything after it. */
  release(): void
  /** Cuts all connections, and forgets what is held back. */
  cut(): void
}

interface Limit {
  /** Value of `passed` from which on bytes are held back. */
  at: number
  held: PromiseWithResolvers<void>
  released: PromiseWithResolvers<void>
}

/** Opens a gate on a free port of this machine, in front of another port. */
export async function openGate(port: number, host = '127.0.0.1'): Promise<Gate> {
  const passed = { up: 0, down: 0 }
  const limits: Record<Direction, Limit | undefined> = { up: undefined, down: undefined }
  const sockets = new Set<Socket>()

  const pump = async (from: Socket, to: Socket, direction: Direction): Promise<void> => {
    try {
      for await (const chunk of from) {
        const limit = limits[direction]
        if (limit !== undefined && passed[direction] >= limit.at) {
          limit.held.resolve()
          await limit.released.promise
        }
        passed[direction] += chunk.length
        if (!to.write(chunk)) await once(to, 'drain')
      }
      to.end()
    } catch {
      // One side is gone, so is the other.
      from.destroy()
      to.destroy()
    }
  }
  const server = createServer((client) => {
    const target = connect(port, host)
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    void pump(client, target, 'up')
    void pump(target, client, 'down')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot open a gate')

  const gate: Gate = {
    url: `http://127.0.0.1:${address.port}`,
    passed,
    async holdAfter(direction, bytes) {
      const limit = {
        at: passed[direction] + bytes,
        held: Promise.withResolvers<void>(),
        released: Promise.withResolvers<void>(),
      }
      limits[direction] = limit
      await limit.held.promise
    },
    release() {
      for (const direction of ['up', 'down'] as const) {
        limits[direction]?.released.resolve()
        limits[direction] = undefined
      }
    },
    cut() {
      for (const socket of sockets) socket.destroy()
      gate.release()
    },
    async [Symbol.asyncDispose]() {
      gate.cut()
      server.close()
      await once(server, 'close')
    },
  }
  return gate
}
