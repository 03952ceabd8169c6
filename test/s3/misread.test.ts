/** A bucket that holds the right bytes, and a way from it to the server that does not. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Proxy } from '../support/s3-proxy.ts'
import { openS3Site } from '../support/s3-site.ts'
import type { ServeProcess, Site } from '../support/serve-process.ts'

const PART_BYTES = 5 * MIB

let stack: AsyncDisposableStack
let site: Site
let server: ServeProcess
let cli: Cli
/** How many of the next readings come spoiled. */
let spoiled = 0
let readings = 0

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const proxy = stack.use(
    await openS3Proxy(getTestS3().endpoint, {
      flipAt({ method, url }) {
        const isReading = method === 'GET' && url?.includes('uploadId') === false
        if (!isReading) return undefined
        readings += 1
        return spoiled-- > 0 ? PART_BYTES + 100 : undefined
      },
    }),
  )
  const s3 = { ...getTestS3(), endpoint: proxy.endpoint }
  const parts = { ...stack.use(await createRealDatabase()), s3 }
  const s3Site = await openS3Site(parts, { 'part-size-bytes': String(PART_BYTES) })
  site = stack.use(s3Site).site
  server = stack.use(await site.serve())
  cli = stack.use(await openCli({ url: site.url, token: site.token }))
})
afterAll(() => stack.disposeAsync())

/** Uploads new parts, which are read by one request, while so many readings are spoiled. */
async function upload(name: string, count: number, sizeBytes = PART_BYTES + 1000) {
  await writeBytes(join(cli.folder, name), sizeBytes, name)
  spoiled = count
  readings = 0
  return cli.run(['upload', name, 'misread/0'])
}

/** From 16 MiB on it is a thread that reads first. */
const LARGE_BYTES = 17 * MIB

describe('a server whose re-read of a bucket comes spoiled', () => {
  it('seals when the second reading agrees, and warns', async () => {
    expect(await upload('once', 1)).toMatchObject({ exit: 0 })
    expect(readings).toBe(2)
    expect(server.output()).toContain('agreed when they were read once more')
    const headers = { authorization: `Bearer ${site.token}` }
    const metrics = await fetch(`${site.url}/metrics`, { headers })
    expect(await metrics.text()).toContain('artifact_misreads_total 1')
  })

  it('reads a second time what a thread has read first', async () => {
    expect(await upload('large', 0, LARGE_BYTES)).toMatchObject({ exit: 0 })
    expect(readings).toBe(1)
    expect(await upload('large and spoiled', 1, LARGE_BYTES)).toMatchObject({ exit: 0 })
    expect(readings).toBe(2)
  })

  it('seals nothing when the second one is spoiled too', async () => {
    const outcome = await upload('always', 99)
    expect(outcome.exit).not.toBe(0)
    expect(outcome.stderr).toContain('stored part 2 differs')
    expect(readings).toBe(2)
    spoiled = 0
    expect((await cli.run(['info', 'misread/0/always'])).exit).not.toBe(0)
  })
})
