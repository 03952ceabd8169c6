/** Seals straight through the sequencer, without bytes: for tests of the log alone. */
import { createHash, randomUUID } from 'node:crypto'
import type { Artifact } from '../../schemas/artifact.ts'
import type { Sequencer } from '../../server/log/sequencer.ts'
import type { Sql } from '../../server/records/database.ts'
import { insertVerifying } from '../../server/records/upload-endings.ts'
import { recordOf } from '../../server/seal/seal.ts'

const TOKEN = '00000000-0000-4000-8000-000000000001'

/** Seals one artifact of three bytes whose digest follows from `content`. */
export async function sealName(
  sql: Sql,
  sequencer: Sequencer,
  name: string,
  content = name,
): Promise<Artifact> {
  const id = randomUUID()
  const holder = randomUUID()
  const sha256 = createHash('sha256').update(content).digest('hex')
  const claim = { sha256, sizeBytes: 3n, parts: [{ number: 1, sizeBytes: 3, sha256 }] }
  const [upload] = await insertVerifying(sql, [
    {
      request: { id, task: 'log', run: 0, name, contentType: 'text/plain', labels: {} },
      claim,
      ...{ partSizeBytes: 65_536, policy: 'reread', blobKey: `blobs/${id}`, holder },
      ...{ tokenId: TOKEN, tokenName: 'worker', openedAt: new Date(0) },
      ...{ expiresAt: new Date(0), leaseUntil: new Date(0) },
    },
  ])
  if (upload === undefined) throw new Error(`Upload ${id} was there`)
  const blob = { sizeBytes: 3n, tag: '"t"' }
  return sequencer.seal({ artifact: recordOf(upload, claim, 'filesystem', blob), holder })
}
