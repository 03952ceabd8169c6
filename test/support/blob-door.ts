/** The smallest HTTP door for a filesystem store, so that its grants can be used as they are meant. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { formatProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { pour } from '../../server/http/pour.ts'
import type { FilesystemStore } from '../../server/stores/filesystem.ts'

export interface BlobDoor extends AsyncDisposable {
  /** For example `http://127.0.0.1:41234`. */
  origin: string
}

/** Opens a door on loopback. */
export async function openBlobDoor(store: FilesystemStore): Promise<BlobDoor> {
  const server = createServer((request, response) => {
    serve(store, request, response).catch((error) => sendProblem(request, response, error))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot open the blob door')
  return {
    origin: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

async function serve(
  store: FilesystemStore,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://door')
  const address = { path: url.pathname, query: url.searchParams }
  if (request.method === 'PUT') {
    const length = request.headers['content-length']
    const sizeBytes = length === undefined ? undefined : Number(length)
    await store.receivePart({ ...address, sizeBytes, body: request })
    response.writeHead(200).end()
    return
  }
  const { range } = request.headers
  const ifMatch = request.headers['if-match']
  const reply = await store.openContent({ ...address, range, ifMatch })
  response.writeHead(reply.status, reply.headers)
  if (reply.body === undefined) response.end()
  else await pour(reply.body, response)
}

function sendProblem(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.destroyed || response.headersSent) {
    response.destroy()
    return
  }
  const named =
    error instanceof ArtifactError ? error : new ArtifactError('internal', String(error))
  const problem = formatProblem(named)
  // The rest of the body is let through, so that the sender comes to read the answer.
  request.resume()
  response.writeHead(problem.status, { 'content-type': 'application/problem+json' })
  response.end(JSON.stringify(problem))
}
