/**
 * Many transfers in one process of the library, to see whether its memory grows:
 *
 *     node --expose-gc transfer-loop.ts CLIENT_MODULE COUNT FILE COPY
 *
 * with ARTIFACT_URL and ARTIFACT_TOKEN. Each transfer is an upload and a get. Prints one line of JSON.
 */
import { rm } from 'node:fs/promises'

const [, , module = '', count = '', file = '', copy = ''] = process.argv
const library: typeof import('../../client/client.ts') = await import(module)
const { ARTIFACT_URL: url = '', ARTIFACT_TOKEN: token } = process.env

const heapBytes: number[] = []
const residentBytes: number[] = []
{
  await using connection = library.connect({ url, token })
  for (let index = 0; index < Number(count); index++) {
    const { artifact } = await library.upload(connection, { file }, { task: 'loop' })
    await library.get(connection, artifact, { output: copy })
    await rm(copy)
    globalThis.gc?.()
    heapBytes.push(process.memoryUsage().heapUsed)
    residentBytes.push(process.memoryUsage.rss())
  }
}
process.stdout.write(`${JSON.stringify({ heapBytes, residentBytes })}\n`)
