/** Somebody with access to the disk changes the bytes between the last part and the seal. */
import { access, chmod, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { UploadRecord } from '../../server/records/upload-row.ts'
import type { Store } from '../../server/stores/store.ts'
import { NO_THREAD, openStage, type Stage } from '../support/stage.ts'
import { describeContent, makeContent } from '../support/upload.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

const content = makeContent(2500, 'honest', 1000)
const foreign = makeContent(2500, 'of another artifact', 1000)
let runs = 0
const fresh = () => ({ task: 'tamper', run: runs++, name: 'a' })

type Change = (bytes: Buffer) => Buffer

const flip =
  (position: number): Change =>
  (bytes) => {
    const changed = Buffer.from(bytes)
    changed[position] = (changed[position] ?? 0) ^ 0b100
    return changed
  }
const swapParts: Change = (bytes) =>
  Buffer.concat([bytes.subarray(1000, 2000), bytes.subarray(0, 1000), bytes.subarray(2000)])

/** What is done to the bytes, and by which code it comes to light. */
const changes: [string, Change, string][] = [
  ['the first bit flipped', flip(0), 'part_mismatch'],
  ['a bit in the middle flipped', flip(1500), 'part_mismatch'],
  ['a bit of the last byte flipped', flip(2499), 'part_mismatch'],
  ['two parts swapped', swapParts, 'part_mismatch'],
  ['the bytes of another artifact', () => foreign.bytes, 'part_mismatch'],
  ['all bytes gone to zero', () => Buffer.alloc(2500), 'part_mismatch'],
]

/** Bytes of another length: in an unfinished object the cut is filled with zeros. */
const cuts: [string, Change][] = [
  ['the last byte cut off', (bytes) => bytes.subarray(0, -1)],
  ['half of it cut off', (bytes) => bytes.subarray(0, 1250)],
  ['everything cut off', () => Buffer.alloc(0)],
]

async function expectRefusal(upload: UploadRecord, code: string, store?: Store): Promise<void> {
  const problem = { code, expected: expect.any(String), found: expect.any(String) }
  await using sealer = stage.openSealer(store === undefined ? {} : { store })
  await expect(stage.seal(upload.id, content, sealer)).rejects.toMatchObject(problem)
  expect(await stage.find(upload.id)).toMatchObject({ state: 'failed', problem })
  await expect(stage.seal(upload.id, content, sealer)).rejects.toMatchObject(problem)
  expect(await stage.isSealed(upload)).toBe(false)
  const again = await stage.openAndSend(upload, content)
  expect(await stage.seal(again.id, content)).toMatchObject({ state: 'sealed' })
}

/** The real store, with somebody in it who acts right after the object was completed. */
function withHand(act: (key: string) => Promise<void>): Store {
  return {
    ...stage.store,
    async complete(session, parts) {
      const blob = await stage.store.complete(session, parts)
      await act(session.key)
      return blob
    },
  }
}

describe('a seal under policy reread', () => {
  it.each(changes)('refuses an unfinished object with %s', async (_, change, code) => {
    const upload = await stage.openAndSend(fresh(), content)
    await stage.tamper(`incoming/${upload.blobKey}`, change)
    await expectRefusal(upload, code)
  })

  it.each(cuts)('refuses an unfinished object with %s', async (_, cut) => {
    const upload = await stage.openAndSend(fresh(), content)
    await stage.tamper(`incoming/${upload.blobKey}`, cut)
    await expectRefusal(upload, 'part_mismatch')
  })

  it('cuts off what was put behind an unfinished object, and seals the right bytes', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const pad: Change = (bytes) => Buffer.concat([bytes, Buffer.from('and more')])
    await stage.tamper(`incoming/${upload.blobKey}`, pad)
    expect(await stage.seal(upload.id, content)).toMatchObject({ state: 'sealed' })
    expect(await stage.store.stat(upload.blobKey)).toMatchObject({ sizeBytes: 2500n })
  })

  it.each(changes)('refuses a finished object with %s', async (_, change, code) => {
    const upload = await stage.openAndSend(fresh(), content)
    await expectRefusal(
      upload,
      code,
      withHand((key) => stage.tamper(key, change)),
    )
  })

  it.each<[string, Change]>([
    ...cuts,
    ['bytes put behind it', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)])],
  ])('refuses a finished object with %s', async (_, change) => {
    const upload = await stage.openAndSend(fresh(), content)
    await expectRefusal(
      upload,
      'precondition_failed',
      withHand((key) => stage.tamper(key, change)),
    )
  })

  it('refuses a finished object that is not there any more', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const steal = async (key: string) => {
      await chmod(join(stage.folder, key), 0o600)
      await unlink(join(stage.folder, key))
    }
    await using sealer = stage.openSealer({ store: withHand(steal) })
    await expect(stage.seal(upload.id, content, sealer)).rejects.toMatchObject({
      code: 'blob_missing',
    })
    expect(await stage.find(upload.id)).toMatchObject({ state: 'failed' })
    expect(await stage.isSealed(upload)).toBe(false)
  })

  it('refuses an object whose part was swapped with the same number of another upload', async () => {
    const [mine, theirs] = [
      await stage.openAndSend(fresh(), content),
      await stage.openAndSend(fresh(), foreign),
    ]
    await stage.tamper(`incoming/${mine.blobKey}`, (bytes) => {
      foreign.bytes.copy(bytes, 1000, 1000, 2000)
      return bytes
    })
    await expectRefusal(mine, 'part_mismatch')
    expect(await stage.seal(theirs.id, foreign)).toMatchObject({ state: 'sealed' })
  })
})

/** The real store behind a wire that flips a bit in these of its readings, counted from 1. */
function withWire(isBad: (reading: number) => boolean): { store: Store; readings: () => number } {
  let readings = 0
  const read: Store['read'] = async function* (key, tag, options) {
    const isSpoiled = isBad(++readings)
    let position = 0
    for await (const chunk of stage.store.read(key, tag, options)) {
      const isHit = isSpoiled && position <= 1500 && 1500 < position + chunk.length
      yield isHit ? flip(1500 - position)(Buffer.from(chunk)) : chunk
      position += chunk.length
    }
  }
  return { store: { ...stage.store, read, digest: NO_THREAD }, readings: () => readings }
}

describe('a re-read over a wire that changes bytes', () => {
  it('seals what a second reading shows to be right, and tells what the first one found', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, readings } = withWire((reading) => reading === 1)
    await using sealer = stage.openSealer({ store })
    stage.misreads.length = 0
    expect(await stage.seal(upload.id, content, sealer)).toMatchObject({ state: 'sealed' })
    expect(readings()).toBe(2)
    const found = describeContent(flip(1500)(content.bytes), 1000).sha256
    expect(stage.misreads).toMatchObject([
      { code: 'digest_mismatch', expected: content.sha256, found },
    ])
  })

  it('fails the upload when the second reading differs too, and reads no third time', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, readings } = withWire(() => true)
    stage.misreads.length = 0
    await expectRefusal(upload, 'part_mismatch', store)
    expect(readings()).toBe(2)
    expect(stage.misreads).toEqual([])
  })

  it('reads once when that agrees', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, readings } = withWire((reading) => reading > 1)
    await using sealer = stage.openSealer({ store })
    expect(await stage.seal(upload.id, content, sealer)).toMatchObject({ state: 'sealed' })
    expect(readings()).toBe(1)
  })
})

describe('a seal under policy parts', () => {
  it('reads nothing again, and says so in the record', async () => {
    const target = fresh()
    const upload = await stage.openAndSend(target, content, { policy: 'parts' })
    const blind: Store = {
      ...stage.store,
      read: () => {
        throw new Error('policy parts has read')
      },
      digest: () => {
        throw new Error('policy parts has read')
      },
    }
    await using sealer = stage.openSealer({ store: blind })
    expect(await stage.seal(upload.id, content, sealer)).toMatchObject({ state: 'sealed' })
    const [row] = await stage.database.server`
      select policy from artifact.artifact where task = ${target.task} and run = ${target.run}`
    expect(row).toEqual({ policy: 'parts' })
  })

  it('still refuses an object of another size', async () => {
    const upload = await stage.openAndSend(fresh(), content, { policy: 'parts' })
    const short: Store = {
      ...stage.store,
      async complete(session, parts) {
        const blob = await stage.store.complete(session, parts)
        return { ...blob, sizeBytes: blob.sizeBytes - 1n }
      },
    }
    await expectRefusal(upload, 'size_mismatch', short)
  })
})

describe('a failed upload', () => {
  it('leaves no bytes in the store once it has been swept', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    await stage.tamper(`incoming/${upload.blobKey}`, flip(7))
    await expect(stage.seal(upload.id, content)).rejects.toMatchObject({ code: 'part_mismatch' })
    stage.wait(3600)
    await stage.sweep()
    await expect(access(join(stage.folder, upload.blobKey))).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })
})
