/** Batches of small artifacts, and what a server made of them. */
import { randomUUID } from 'node:crypto'
import { type SealBatch, SealedBatch, type SmallArtifact } from '../../schemas/batch.ts'
import type { Sql } from '../../server/records/database.ts'
import type { TestServer } from './server.ts'
import { sha256 } from './upload.ts'

/** One artifact as a client sends it. */
export function makeSmall(
  { task = 'batch', run = 0, name = 'a' }: { task?: string; run?: number; name?: string },
  content: string | Buffer,
  more: Partial<SmallArtifact> = {},
): SmallArtifact {
  const bytes = Buffer.from(content)
  return {
    id: randomUUID(),
    task,
    run,
    name,
    sha256: sha256(bytes),
    contentType: 'text/plain',
    labels: {},
    content: bytes.toString('base64'),
    ...more,
  }
}

/** Sends a batch that must be taken; each outcome may still be a refusal. */
export async function sendBatch(
  server: TestServer,
  artifacts: SealBatch['artifacts'],
  token?: string,
): Promise<SealedBatch['outcomes']> {
  const { status, body } = await server.request('POST', '/v1/artifacts', {
    body: { artifacts },
    ...(token === undefined ? {} : { token }),
  })
  if (status !== 200) throw new Error(`A batch was answered ${status}: ${JSON.stringify(body)}`)
  return SealedBatch.parse(body).outcomes
}

/** The code of each refusal, `sealed` for the others. */
export function codesOf(outcomes: SealedBatch['outcomes']): string[] {
  return outcomes.map((one) => (one.outcome === 'sealed' ? 'sealed' : one.problem.code))
}

/** How often each thing is on record for a task. */
export async function countRecords(sql: Sql, task: string) {
  const [row] = await sql`
    select (select count(*)::int from artifact.artifact where task = ${task}) as artifacts,
      (select count(*)::int from artifact.log_leaf where task = ${task}) as leaves,
      (select count(*)::int from artifact.upload where task = ${task}) as uploads,
      (select count(*)::int from artifact.event
        where task = ${task} and body->>'state' = 'sealed') as events`
  return row
}
