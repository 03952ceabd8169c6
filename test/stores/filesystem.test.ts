/** The filesystem store: the contract, and what is its own. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FilesystemStore, openFilesystemStore } from '../../server/stores/filesystem.ts'
import { describeStoreContract } from '../contract/store.ts'
import type { Subject } from '../contract/subject.ts'
import { openBlobDoor } from '../support/blob-door.ts'

interface FilesystemSubject extends Subject {
  store: FilesystemStore
  folder: string
}

async function openSubject(): Promise<FilesystemSubject> {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'artifact-store-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  let shiftMs = 0
  const store = opened.use(
    await openFilesystemStore({
      folder,
      grantSecret: randomBytes(32),
      clock: () => new Date(Date.now() + shiftMs),
    }),
  )
  const { origin } = opened.use(await openBlobDoor(store))
  const owned = opened.move()
  return {
    store,
    folder,
    origin,
    partSizeBytes: 100_000,
    shiftClock: (seconds) => {
      shiftMs = seconds * 1000
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

describeStoreContract('filesystem', openSubject)
