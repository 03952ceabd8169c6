/**
 * What an ordinary morning looks like: backups of many nights of which the last has halved, releases
 * of which one was revoked, something altered in the store, and uploads in every state there is.
 */
import { randomUUID } from 'node:crypto'
import { formatCheckpoint } from '../../client/verify/checkpoint.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import type { Sql } from '../../server/records/database.ts'
import { PLANTED_TOKEN, type Planted, plantRecords } from './planted-records.ts'
import type { TestServer } from './server.ts'
import { asOwner, stealKey } from './tampering.ts'
import { makeContent, openTestUpload, sealContent, sha256, TEST_PART_BYTES } from './upload.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NIGHTS = 36

/** Where to look: one page of every kind, by what it shows. */
export const SHOWCASE_PAGES = {
  uploads: '/',
  tasks: '/tasks',
  task: '/tasks/nightly-backup',
  'task-of-releases': '/tasks/firmware',
  run: `/tasks/nightly-backup/${NIGHTS}`,
  'run-of-many': '/tasks/photo-archive/0',
  artifact: `/artifacts/nightly-backup/${NIGHTS}/files.tar.zst`,
  'artifact-small': '/artifacts/handbook/0/handbook.pdf',
  'artifact-altered': `/artifacts/nightly-backup/${NIGHTS - 9}/db.dump`,
  'artifact-revoked': '/artifacts/firmware/3/image-arm64.bin',
  'artifact-removed': '/artifacts/firmware/1/image-arm64.bin',
  'search-several': `/search?q=firm`,
  'search-none': '/search?q=0123456789abcdef',
  search: '/search',
  log: '/log',
  'not-found': '/tasks/no-such-task',
} as const

/** Fills a server that has a log, as seen at `now`. */
export async function showcase(server: TestServer, now: Date): Promise<void> {
  const ago = (ms: number) => new Date(now.getTime() - ms)
  await plantRecords(server.admin, listRecords(ago))
  await sealContent(
    server,
    { task: 'handbook', run: 0, name: 'handbook.pdf' },
    makeContent(40 * TEST_PART_BYTES, 'handbook'),
    { contentType: 'application/pdf', labels: { edition: '7' } },
  )
  await state(server, 'firmware', 3, 'image-arm64.bin', 'revoke', 'boots with the debug key')
  await state(server, 'firmware', 1, 'image-arm64.bin', 'remove', 'asked for by the customer')
  await lookAgain(server.admin, ago)
  await runUploads(server, ago)
  await signHistory(server)
}

function listRecords(ago: (ms: number) => Date): Planted[] {
  const records: Planted[] = []
  for (let run = 1; run <= NIGHTS; run++) {
    const at = (minutes: number) => ago((NIGHTS - run) * DAY_MS + 6 * HOUR_MS - minutes * 60_000)
    const wobble = ((run * 7919) % 13) / 13
    const dump = (1.82 + run * 0.011 + wobble * 0.03) * GIB * (run === NIGHTS ? 0.47 : 1)
    const files = (10.9 + run * 0.02 + wobble * 0.2) * GIB
    const night = { task: 'nightly-backup', run, labels: { host: 'db-2', policy: 'daily' } }
    records.push(
      {
        ...night,
        name: 'db.dump',
        sizeBytes: Math.round(dump),
        sealedAt: at(9),
        tookSeconds: Math.round(dump / (52 * MIB)),
      },
      {
        ...night,
        name: 'files.tar.zst',
        sizeBytes: Math.round(files),
        sealedAt: at(31),
        tookSeconds: Math.round(files / (61 * MIB)),
        contentType: 'application/zstd',
      },
      {
        ...night,
        name: 'manifest.json',
        sizeBytes: 18_214 + run * 31,
        sealedAt: at(32),
        tookSeconds: 1,
        contentType: 'application/json',
      },
    )
  }
  for (let run = 1; run <= 4; run++)
    for (const [name, mib] of [
      ['image-amd64.bin', 412],
      ['image-arm64.bin', 398],
      ['sbom.spdx.json', 1.3],
    ] as const)
      records.push({
        ...{ task: 'firmware', run, name, by: 'release-pipeline' },
        sizeBytes: Math.round(mib * MIB) + run * 4097,
        sealedAt: ago((5 - run) * 9 * DAY_MS + 3 * HOUR_MS),
        tookSeconds: 11,
        labels: { branch: 'release/2.4', commit: sha256(`commit ${run}`).slice(0, 12) },
      })
  for (let number = 0; number < 130; number++)
    records.push({
      ...{ task: 'photo-archive', run: 0, by: 'anna' },
      name: `2019/summer/IMG_${String(4200 + number)}.dng`,
      sizeBytes: 24_000_000 + ((number * 7919) % 9000) * 1000,
      sealedAt: ago(60 * DAY_MS - number * 4000),
      tookSeconds: 2,
      contentType: 'image/x-adobe-dng',
    })
  for (const [task, days] of [
    ['firmware-nightly', 2],
    ['mail-store', 1],
    ['prometheus-blocks', 0.2],
    ['video-masters', 120],
  ] as const)
    records.push({
      ...{ task, run: 12, name: 'data.tar', sizeBytes: Math.round(7.7 * GIB) },
      sealedAt: ago(days * DAY_MS),
      tookSeconds: 140,
    })
  return records.toSorted((one, other) => one.sealedAt.getTime() - other.sealedAt.getTime())
}

async function state(
  server: TestServer,
  task: string,
  run: number,
  name: string,
  kind: 'revoke' | 'remove',
  reason: string,
): Promise<void> {
  const path = `/v1/tasks/${task}/runs/${run}/artifacts/${name}/statements`
  const reply = await server.request('POST', path, { body: { kind, reason } })
  if (reply.status !== 201) throw new Error(`Cannot ${kind}: ${JSON.stringify(reply.body)}`)
}

/** What a month of looking at stored bytes again has found. */
async function lookAgain(admin: Sql, ago: (ms: number) => Date): Promise<void> {
  const altered = NIGHTS - 9
  const part = sha256(`${sha256(`nightly-backup/${altered}/db.dump`)}/41`)
  await admin`
    insert into artifact.verification (task, run, name, at, outcome, bytes, seconds, server)
    select task, run, name, sealed_at + interval '5 days 2 hours', 'agreed', size, size / 180000000.0,
      ${randomUUID()}
    from artifact.artifact where task = 'nightly-backup' and sealed_at < ${ago(6 * DAY_MS)}`
  await admin`
    insert into artifact.verification (task, run, name, at, outcome, code, expected, found, bytes, seconds, server)
    values ('nightly-backup', ${altered}, 'db.dump', ${ago(5 * HOUR_MS)}, 'mismatch', 'part_mismatch',
      ${part}, ${sha256('altered')}, ${42 * 16_777_216}, 4.2, ${randomUUID()})`
}

/** The log as its signer would have signed it night by night. */
async function signHistory({ admin, dataFolder }: TestServer): Promise<void> {
  const signer = await stealKey(dataFolder)
  const rows = await admin<{ size: bigint; root: Uint8Array; at: Date }[]>`
    select distinct on (date_trunc('day', sealed_at)) tree.size, tree.root, sealed_at as at
    from artifact.log_tree as tree join artifact.log_leaf as leaf on leaf.idx = tree.last_idx
      join artifact.artifact using (task, run, name)
    where leaf.kind = 'seal'
    order by date_trunc('day', sealed_at), tree.size desc`
  await asOwner(admin, async (tx) => {
    for (const { size, root, at } of rows) {
      const head = { origin: signer.key.name, size: Number(size), root }
      const note = signNote(formatCheckpoint(head), [signer])
      await tx`
        insert into artifact.log_checkpoint (origin, size, note, signed_at)
        values (${head.origin}, ${head.size}, ${note}, ${at})
        on conflict (origin, size, cosignatures) do update set signed_at = excluded.signed_at`
    }
  })
}

interface Running {
  task: string
  run: number
  name: string
  size: number | undefined
  by: string
  openedAgo: number
  /** Of its state and progress, as columns of the table. */
  columns: Record<string, string | number | Date | null>
}

async function runUploads(server: TestServer, ago: (ms: number) => Date): Promise<void> {
  const second = 1000
  const minute = 60 * second
  const moving = (bytes: number) => ({ progress_bytes: Math.round(bytes), moved_at: ago(second) })
  const ended = (ms: number) => ({ ended_at: ago(ms), moved_at: ago(ms), purged_at: ago(ms) })
  const mismatch = {
    ...{ type: 'about:blank', code: 'digest_mismatch', status: 422, retryable: false },
    title: 'The bytes are not what was claimed',
    detail: 'Cannot seal video-masters/13/scene-04.mov: the bytes are not what was claimed',
    hint: 'Upload it again',
    expected: sha256('claimed'),
    found: sha256('found'),
  }
  const next = NIGHTS + 1
  const all: Running[] = [
    {
      ...{ task: 'nightly-backup', run: next, name: 'files.tar.zst', size: 11.8 * GIB },
      ...{ by: 'nightly@backup-1', openedAgo: 2.1 * minute, columns: moving(7.43 * GIB) },
    },
    {
      ...{ task: 'mail-store', run: 13, name: 'maildir.tar', size: 31.2 * GIB },
      ...{ by: 'nightly@mail', openedAgo: 44 * minute },
      columns: { ...moving(12.9 * GIB), attempt: 2, restarted_at: ago(11 * minute) },
    },
    {
      ...{ task: 'pg-base', run: 311, name: 'base.tar', size: undefined },
      ...{ by: 'postgres@db-2', openedAgo: 9 * minute, columns: moving(4.02 * GIB) },
    },
    {
      ...{ task: 'video-masters', run: 14, name: 'scene-07 (final) — Köln.mov', size: 88.4 * GIB },
      ...{ by: 'edit-suite', openedAgo: 71 * minute },
      columns: { progress_bytes: Math.round(21.7 * GIB), moved_at: ago(4.2 * minute) },
    },
    {
      ...{ task: 'nightly-backup', run: next, name: 'db.dump', size: 2.21 * GIB },
      ...{ by: 'nightly@backup-1', openedAgo: 3 * minute },
      columns: {
        ...moving(2.21 * GIB),
        ...{ state: 'verifying', verified_bytes: Math.round(1.06 * GIB) },
        claimed_size: Math.round(2.21 * GIB),
        // Some server is at it: no other takes it over.
        ...{ lease_holder: randomUUID(), lease_until: ago(-DAY_MS) },
      },
    },
    {
      ...{ task: 'video-masters', run: 13, name: 'scene-04.mov', size: 46.1 * GIB },
      ...{ by: 'edit-suite', openedAgo: 70 * minute },
      columns: {
        ...ended(3 * minute),
        ...{ state: 'failed', progress_bytes: Math.round(46.1 * GIB) },
        problem: JSON.stringify(mismatch),
      },
    },
    {
      ...{ task: 'ci', run: 9182, name: 'coverage.tar', size: 0.4 * GIB, by: 'ci' },
      ...{ openedAgo: 20 * minute, columns: { ...ended(12 * minute), state: 'aborted' } },
    },
    {
      ...{ task: 'laptop', run: 3, name: 'home.tar', size: 120 * GIB, by: 'anna' },
      openedAgo: 26 * 60 * minute,
      columns: {
        ...ended(41 * minute),
        ...{ state: 'expired', progress_bytes: Math.round(17 * GIB) },
      },
    },
  ]
  for (const running of all) await runUpload(server, running, ago)
}

async function runUpload(
  server: TestServer,
  { task, run, name, size, by, openedAgo, columns }: Running,
  ago: (ms: number) => Date,
): Promise<void> {
  const { id } = await openTestUpload(server, { task, run, name }, {})
  const bytes = size === undefined ? null : Math.round(size)
  const { admin } = server
  const { problem, ...plain } = columns
  const times = { opened_at: ago(openedAgo), progress_at: ago(1000) }
  await admin`
    update artifact.upload set ${admin({
      ...{ token_name: by, token_id: PLANTED_TOKEN, size: bytes, progress_total: bytes },
      ...times,
      ...plain,
    })}, claimed_sha256 = sha256('claimed'::bytea),
      problem = ${typeof problem === 'string' ? admin.json(JSON.parse(problem)) : null}
    where id = ${id}`
}
