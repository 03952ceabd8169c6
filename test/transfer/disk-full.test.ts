import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { connect, get, upload } from '../../client/client.ts'
import { writeBytes } from '../support/content.ts'
import { startTestServer } from '../support/server.ts'
import { mountSmallDisk } from '../support/small-disk.ts'
import { makeWorkFolder } from '../support/work-folder.ts'

describe('get() onto a full disk', () => {
  it('says so, and leaves nothing behind', async ({ skip }) => {
    await using work = await makeWorkFolder()
    using disk = await mountSmallDisk(work.at('disk'), 512 * 1024)
    if (disk === undefined) {
      if (process.env.CI) throw new Error('No small disk can be mounted, and CI must run this')
      return skip('no small disk can be mounted here (root is needed)')
    }
    await using server = await startTestServer()
    await using connection = connect({ url: server.url, token: server.token })
    await writeBytes(work.at('file'), 1024 * 1024)
    const { artifact } = await upload(connection, { file: work.at('file') }, { task: 'full' })
    for (const memoryBytes of [64 * 1024, 256 * 1024 ** 2])
      await expect(
        get(connection, artifact, { output: work.at('disk', 'out'), memoryBytes }),
      ).rejects.toMatchObject({
        code: 'local_io',
        message: expect.stringContaining('no space is left'),
      })
    expect(await readdir(work.at('disk'))).toEqual([])
  })
})
