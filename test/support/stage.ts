/**
 * The stages of the server without its HTTP: intake, seal and sweep over a real Postgres and a real
 * folder, with a clock that a test moves and a hand in the store between any two steps.
 */
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Part } from '../../schemas/artifact.ts'
import type { ArtifactError } from '../../schemas/problems.ts'
import { OpenUpload, SealUpload } from '../../schemas/upload.ts'
import type { Principal } from '../../server/access/scopes.ts'
import { sweep } from '../../server/care/sweep.ts'
import { grantParts } from '../../server/intake/grants.ts'
import { openUpload } from '../../server/intake/open.ts'
import type { Intake, IntakeSettings } from '../../server/intake/session.ts'
import { createSequencer } from '../../server/log/sequencer.ts'
import { findArtifact } from '../../server/records/artifacts.ts'
import { openOutbox } from '../../server/records/outbox.ts'
import type { UploadRecord } from '../../server/records/upload-row.ts'
import { findUpload } from '../../server/records/uploads.ts'
import { createSealer, type Sealer } from '../../server/seal/seal.ts'
import { type FilesystemStore, openFilesystemStore } from '../../server/stores/filesystem.ts'
import type { Store } from '../../server/stores/store.ts'
import { createTestDatabase } from './database.ts'
import type { TestDatabase } from './postgres-cluster.ts'
import { sliceOf, type TestContent, type TestTarget, wordsFor } from './upload.ts'

export const STAGE_PART_BYTES = 1000

/** Of a store that a test looks into: it is read where the test sees it. */
export const NO_THREAD: Store['digest'] = async () => undefined

export interface Stage extends AsyncDisposable {
  readonly database: TestDatabase
  readonly folder: string
  readonly store: FilesystemStore
  readonly intake: Intake
  /** Who opens uploads here. */
  readonly principal: Principal
  /** What seals met and will take up again. */
  readonly setbacks: unknown[]
  /** What a reading of stored bytes found, where the next one agreed. */
  readonly misreads: ArtifactError[]
  /** Moves the clock that everything here reads. */
  wait(seconds: number): void
  /** A sealer of its own, as another server would have; over another store than the real one if given. */
  openSealer(options?: { store?: Store; patienceMs?: number }): Sealer
  open(target: TestTarget, more?: object): Promise<UploadRecord>
  send(id: string, content: TestContent, parts?: readonly Part[]): Promise<void>
  /** Opens with the size declared and sends all parts. */
  openAndSend(target: TestTarget, content: TestContent, more?: object): Promise<UploadRecord>
  /** Through a sealer of its own, until the upload has ended or the seal throws. */
  seal(id: string, content: TestContent, sealer?: Sealer): Promise<UploadRecord>
  find(id: string): Promise<UploadRecord>
  isSealed(target: TestTarget): Promise<boolean>
  /** One sweep; throws what it could not do. */
  sweep(sealer?: Sealer): Promise<void>
  /** Changes the bytes in the folder as somebody with access to the disk would. */
  tamper(key: string, change: (bytes: Buffer) => Buffer): Promise<void>
}

export async function openStage(settings: Partial<IntakeSettings> = {}): Promise<Stage> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await createTestDatabase())
  const folder = await mkdtemp(join(tmpdir(), 'artifact-stage-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  let now = Date.parse('2026-11-21T20:00:00Z')
  const clock = () => new Date(now)
  const store = stack.use(
    // What is small here goes the way of what is large.
    await openFilesystemStore({
      ...{ folder, grantSecret: randomBytes(32), clock },
      threads: { fromBytes: 0n },
    }),
  )
  const setbacks: unknown[] = []
  const outbox = stack.use(openOutbox(database.server, (error) => setbacks.push(error)))
  const intake: Intake = {
    sql: database.server,
    outbox,
    store,
    clock,
    settings: {
      partSizeBytes: STAGE_PART_BYTES,
      sizeBytesMax: 2n ** 63n - 1n,
      uploadTtlSeconds: 3600,
      grantTtlSeconds: 600,
      openUploadsMax: 1000,
      policy: 'reread',
      ...settings,
    },
  }
  const misreads: ArtifactError[] = []
  const principal: Principal = {
    token: { id: '5a3f6c1e-7a55-4ad2-9c3d-0123456789ab', name: 'stage' },
    scopes: ['admin'],
  }

  const stage: Omit<Stage, typeof Symbol.asyncDispose> = {
    database,
    folder,
    store,
    intake,
    principal,
    setbacks,
    misreads,
    wait(seconds) {
      now += seconds * 1000
    },
    openSealer: (options = {}) =>
      createSealer(
        { ...intake, store: options.store ?? store },
        createSequencer(outbox, intake.clock),
        {
          concurrency: 4,
          patienceMs: options.patienceMs ?? 60_000,
          onOutcome: () => undefined,
          onSetback: (_, error) => setbacks.push(error),
          onMisread: (_, error) => misreads.push(error),
        },
      ),
    async open(target, more) {
      const words = OpenUpload.parse(wordsFor(target, more))
      await openUpload(intake, principal, words)
      return stage.find(words.id)
    },
    async send(id, content, parts = content.parts) {
      const grants = await grantParts(intake, await stage.find(id), parts)
      for (const [index, part] of parts.entries()) {
        const url = new URL(grants[index]?.url ?? '', 'http://stage')
        const body = sliceOf(content, part)
        await store.receivePart({
          path: url.pathname,
          query: url.searchParams,
          sizeBytes: body.length,
          body: (async function* () {
            yield body
          })(),
        })
      }
    },
    async openAndSend(target, content, more = {}) {
      const { id } = await stage.open(target, { sizeBytes: content.sizeBytes, ...more })
      await stage.send(id, content)
      return stage.find(id)
    },
    async seal(id, { sha256, sizeBytes, parts }, sealer) {
      const request = SealUpload.parse({ sha256, sizeBytes, parts })
      if (sealer !== undefined) return sealer.requestSeal(await stage.find(id), request)
      await using own = stage.openSealer()
      return await own.requestSeal(await stage.find(id), request)
    },
    async find(id) {
      const record = await findUpload(intake.sql, id)
      if (record === undefined) throw new Error(`Cannot find upload ${id}`)
      return record
    },
    async isSealed({ task, run, name }) {
      return (await findArtifact(intake.sql, task, run, name)) !== undefined
    },
    async sweep(sealer) {
      await using own = stage.openSealer()
      const settings = { eventTtlSeconds: 7200, endedTtlSeconds: 86_400 }
      await sweep(intake, sealer ?? own, settings, (step, id, cause) => {
        throw new Error(`Cannot ${step} ${id}`, { cause })
      })
    },
    async tamper(key, change) {
      const path = join(folder, key)
      const bytes = await readFile(path)
      await chmod(path, 0o600)
      await writeFile(path, change(bytes))
    },
  }
  const held = stack.move()
  return { ...stage, [Symbol.asyncDispose]: () => held.disposeAsync() }
}
