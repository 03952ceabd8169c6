/**
 * An artifact of a size that no disk here has, on its way until enough of it has passed: its parts are
 * as large, its plan is as long and as many parts are held as at any later time, so what is measured
 * until then is that of the whole. Its bytes are the zeros of a sparse file.
 */
import { createHash, randomUUID } from 'node:crypto'
import { chmod, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { choosePartSize, DEFAULT_PART_LIMITS, planParts } from '../../schemas/part-plan.ts'
import { openDatabase } from '../../server/records/database.ts'
import { blobKeyOf } from '../../server/stores/blob-key.ts'
import { pathOfBlob, statBlob } from '../../server/stores/filesystem-blobs.ts'
import { PLANTED_TOKEN, plantArtifact } from '../support/planted-records.ts'
import { measure, type Sample } from './measure.ts'
import type { Ours } from './ours.ts'

/** Of the artifact. */
export const SPARSE_BYTES = 1024 ** 4

const TASK = 'sparse'
const NAME = 'zeros'

/** Uploads it until the store has confirmed so many bytes. */
export async function uploadSparse(
  { command, tool, clear }: Ours,
  folder: string,
  bytes: number,
): Promise<Sample> {
  const path = join(folder, 'sparse')
  try {
    await makeSparse(path)
    const words = ['upload', '--progress', 'json', path, TASK]
    const stopWhen = (stderr: string) => readSettledBytes(stderr) >= bytes
    return (await measure({ ...command(...words), stopWhen }, tool.watched)).sample
  } finally {
    await clear()
    await rm(path, { force: true })
  }
}

/** Gets it from a folder store, which has it as if it had been uploaded, until so many bytes came. */
export async function getSparse(
  { command, tool, place, clear }: Ours,
  folder: string,
  bytes: number,
): Promise<Sample> {
  const copies = join(folder, 'sparse-copies')
  await mkdir(copies)
  try {
    await plantSparse(place.dataFolder)
    const words = ['get', '--progress', 'json', `${TASK}/0/${NAME}`, '-o', join(copies, NAME)]
    const stopWhen = (stderr: string) => readSettledBytes(stderr) >= bytes
    return (await measure({ ...command(...words), stopWhen }, tool.watched)).sample
  } finally {
    await clear()
    await rm(copies, { recursive: true })
  }
}

/** Puts it into the store and the record of a server on the embedded default, past that server. */
async function plantSparse(dataFolder: string): Promise<void> {
  const uploadId = randomUUID()
  const blobKey = blobKeyOf(uploadId)
  const store = join(dataFolder, 'store')
  const path = pathOfBlob(store, blobKey)
  await mkdir(dirname(path), { recursive: true })
  await makeSparse(path)
  await chmod(path, 0o444)
  const blob = await statBlob(store, blobKey)
  if (blob === undefined) throw new Error(`Cannot find ${path} after making it`)
  await using admin = await openDatabase({
    url: await findAdminUrl(join(dataFolder, 'postgres')),
    connectionsMax: 1,
  })
  const now = new Date()
  await plantArtifact(
    admin.sql,
    {
      ...{ task: TASK, run: 0, name: NAME, uploadId, blobKey, blobTag: blob.tag },
      ...describeZeros(),
      sizeBytes: blob.sizeBytes,
      contentType: 'application/octet-stream',
      labels: {},
      policy: 'parts',
      store: 'file',
      openedAt: now,
      tokenId: PLANTED_TOKEN,
      tokenName: 'bench',
    },
    now,
  )
}

/** Every part by its own digest. That of the whole is none of it: nobody gets so far as to compare it. */
function describeZeros() {
  const partSizeBytes = choosePartSize(BigInt(SPARSE_BYTES), DEFAULT_PART_LIMITS)
  if (partSizeBytes === undefined) throw new Error('Cannot cut 1 TiB into parts')
  const digests = new Map<number, string>()
  const parts = planParts(BigInt(SPARSE_BYTES), partSizeBytes).map(({ number, sizeBytes }) => {
    const sha256 = digests.get(sizeBytes) ?? digestZeros(sizeBytes)
    digests.set(sizeBytes, sha256)
    return { number, sizeBytes, sha256 }
  })
  return { sha256: digestZeros(0), partSizeBytes, parts }
}

function digestZeros(sizeBytes: number): string {
  return createHash('sha256').update(Buffer.alloc(sizeBytes)).digest('hex')
}

/** Of the superuser of an embedded Postgres that runs in the folder: the fourth line is the port. */
async function findAdminUrl(folder: string): Promise<string> {
  const password = (await readFile(join(folder, 'admin-password'), 'utf8')).trim()
  const lines = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n')
  return `postgres://postgres:${password}@127.0.0.1:${lines[3]}/artifact?sslmode=disable`
}

async function makeSparse(path: string): Promise<void> {
  await using file = await open(path, 'wx')
  await file.truncate(SPARSE_BYTES)
}

/** How much is confirmed, from the last whole line of progress. */
function readSettledBytes(stderr: string): number {
  const found = [...stderr.slice(-4096).matchAll(/"settledBytes":"?(\d+)/g)].at(-1)
  return Number(found?.[1] ?? 0)
}
