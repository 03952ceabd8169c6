/**
 * A connection that is begun before anybody needs it. Over a far network it takes as long as Node takes
 * to load a command, and so the two go on together.
 */
import type { Socket } from 'node:net'

/** Dispose of it to close the connection, unless somebody has taken it. */
export interface HeadStart extends Disposable {
  /**
   * The socket, to whoever asks first; it may be connecting still. `undefined` when it leads elsewhere,
   * has failed, or has waited so long that the server may have closed it.
   */
  take(address: {
    host?: string | null | undefined
    port?: string | number | null | undefined
  }): Socket | undefined
  /** How long it took to connect, in ms; does not settle when it failed. */
  readonly connectedMs: Promise<number>
}

/** Servers wait some time for a first request, and then give up. */
const AGE_MS_MAX = 5000

/** Begins to connect to the host of an address; whatever goes wrong is told when nobody can take it. */
export function beginConnection(url: URL): HeadStart {
  // Not imported, as every start loads this file.
  const net = process.getBuiltinModule('node:net')
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const began = process.hrtime.bigint()
  const ageMs = () => Number(process.hrtime.bigint() - began) / 1_000_000
  // As Node's own HTTP client makes them.
  const socket = net.connect({ host, port, noDelay: true, keepAlive: true })
  const connected = Promise.withResolvers<number>()
  const fail = () => void socket.destroy()
  socket.once('connect', () => connected.resolve(ageMs()))
  socket.on('error', fail)
  let isTaken = false
  return {
    connectedMs: connected.promise,
    take(address) {
      const isThere = address.host === host && Number(address.port) === port
      if (isTaken || !isThere || socket.destroyed || ageMs() > AGE_MS_MAX) return undefined
      isTaken = true
      socket.off('error', fail)
      return socket
    },
    [Symbol.dispose]() {
      if (!isTaken) socket.destroy()
    },
  }
}
