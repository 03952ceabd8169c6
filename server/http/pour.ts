/** Bodies of answers straight to the connection, piece by piece, as fast as they are taken. */
import type { ServerResponse } from 'node:http'
import type { Stay } from '../room.ts'

/**
 * Writes the pieces one after the other, each good until the next one is asked for; when they cannot
 * be made or the client fails, it cuts the connection. Within a stay so does who takes too long.
 */
export async function pour(
  body: AsyncIterable<Uint8Array>,
  outgoing: ServerResponse,
  stay?: Stay,
): Promise<void> {
  // A write that waits for a peer who is gone need not hear of that.
  const { socket } = outgoing.req
  const gone = Promise.withResolvers<void>()
  const leave = () => gone.resolve()
  if (socket.destroyed) leave()
  else socket.once('close', leave)
  try {
    for await (const piece of body) {
      const written = new Promise<void>((resolve, reject) => {
        outgoing.write(piece, (error) => (error ? reject(error) : resolve()))
      })
      using _ = stay?.awaitPeer(() => void socket.destroy())
      await Promise.race([written, gone.promise])
      if (outgoing.destroyed || socket.destroyed) return
    }
    outgoing.end()
  } catch {
    socket.destroy()
  } finally {
    socket.off('close', leave)
  }
}

/** The same pieces once the first of them is made: what fails until then can still be answered. */
export async function startPieces(
  pieces: AsyncGenerator<Uint8Array>,
): Promise<AsyncGenerator<Uint8Array>> {
  const first = await pieces.next()
  return (async function* () {
    if (first.done === true) return
    yield first.value
    yield* pieces
  })()
}
