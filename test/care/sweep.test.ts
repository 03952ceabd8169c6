/** A name is burnt by a seal alone: not by what failed, was aborted, or was left behind. */
import { access, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { abortUpload, discardBlob } from '../../server/intake/uploads.ts'
import { makeStatement } from '../../server/log/statements.ts'
import { findArtifact } from '../../server/records/artifacts.ts'
import { sealBatch } from '../../server/seal/batch.ts'
import { codesOf, makeSmall } from '../support/batch.ts'
import { openStage, type Stage } from '../support/stage.ts'
import { describeContent, makeContent } from '../support/upload.ts'

const DAY_SECONDS = 86_400
const content = makeContent(2500, 'swept', 1000)

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

const isOnDisk = (path: string) =>
  access(join(stage.folder, path)).then(
    () => true,
    () => false,
  )
const events = (id: string) =>
  stage.database.server<{ state: string }[]>`
    select body->>'state' as state from artifact.event where upload_id = ${id} order by id`

describe('sweep()', () => {
  it('expires an upload after its time without a sign of life, and tells those who watch', async () => {
    const target = { task: 'expire', run: 0, name: 'a' }
    const { id, blobKey } = await stage.openAndSend(target, content)
    stage.wait(3599)
    await stage.sweep()
    expect((await stage.find(id)).state).toBe('open')
    stage.wait(1)
    await stage.sweep()
    expect((await stage.find(id)).state).toBe('expired')
    expect(await events(id)).toEqual([{ state: 'open' }, { state: 'expired' }])
    expect(await isOnDisk(`incoming/${blobKey}`)).toBe(false)
  })

  it('leaves an upload alone that keeps giving signs of life', async () => {
    const { id } = await stage.open({ task: 'alive', run: 0, name: 'a' })
    for (const part of content.parts) {
      stage.wait(3000)
      await stage.send(id, content, [part])
      await stage.sweep()
    }
    expect((await stage.find(id)).state).toBe('open')
  })

  it('answers whoever comes back to an expired upload that it has ended', async () => {
    const { id } = await stage.openAndSend({ task: 'late', run: 0, name: 'a' }, content)
    stage.wait(3600)
    await stage.sweep()
    await expect(stage.seal(id, content)).rejects.toMatchObject({
      code: 'upload_ended',
      found: 'expired',
    })
    await expect(stage.send(id, content)).rejects.toMatchObject({ code: 'upload_ended' })
  })

  it('forgets the bytes of what ended once no grant can bring them back, and later the upload', async () => {
    const { id, blobKey } = await stage.openAndSend({ task: 'purge', run: 0, name: 'a' }, content)
    await abortUpload(stage.intake, await stage.find(id))
    // A part that was on its way when the upload was aborted.
    await stage.store.begin({
      key: blobKey,
      sizeBytes: 2500n,
      partSizeBytes: 1000,
      contentType: 'text/plain',
    })
    stage.wait(15 * 60)
    await stage.sweep()
    expect(await isOnDisk(`incoming/${blobKey}`)).toBe(true)
    stage.wait(61)
    await stage.sweep()
    expect(await isOnDisk(`incoming/${blobKey}`)).toBe(false)
    stage.wait(DAY_SECONDS)
    await stage.sweep()
    await expect(stage.find(id)).rejects.toThrow('Cannot find upload')
  })

  it('never touches the bytes of an artifact, however long it sweeps', async () => {
    const target = { task: 'keep', run: 0, name: 'a' }
    const { id, blobKey } = await stage.openAndSend(target, content)
    await stage.seal(id, content)
    for (let day = 0; day < 3; day += 1) {
      stage.wait(2 * DAY_SECONDS)
      await stage.sweep()
    }
    expect(await isOnDisk(blobKey)).toBe(true)
    expect(await stage.isSealed(target)).toBe(true)
    await expect(stage.find(id)).rejects.toThrow('Cannot find upload')
  })

  it('leaves the id of an artifact taken, so that nobody can open, abort and remove it', async () => {
    const target = { task: 'keep', run: 1, name: 'a' }
    const { id, blobKey } = await stage.openAndSend(target, content)
    await stage.seal(id, content)
    const before = await stage.find(id)
    stage.wait(2 * DAY_SECONDS)
    await stage.sweep()
    await expect(stage.find(id)).rejects.toThrow('Cannot find upload')
    for (const more of [{}, { sizeBytes: content.sizeBytes, parts: content.parts }])
      await expect(stage.open({ ...target, name: 'b' }, { id, ...more })).rejects.toMatchObject({
        code: 'upload_conflict',
      })
    await using sealer = stage.openSealer()
    const small = makeSmall({ ...target, name: 'c' }, 'small', { id })
    const { outcomes } = await sealBatch(stage.intake, sealer, stage.principal, {
      artifacts: [small],
    })
    expect(codesOf(outcomes)).toEqual(['upload_conflict'])
    await discardBlob(stage.intake, { ...before, state: 'aborted' })
    expect(await isOnDisk(blobKey)).toBe(true)
  })

  it('removes once more what a late part brought back after its artifact was removed', async () => {
    const { task, run, name } = { task: 'keep', run: 2, name: 'a' }
    const { id, blobKey } = await stage.openAndSend({ task, run, name }, content)
    await stage.seal(id, content)
    const stored = await findArtifact(stage.intake.sql, task, run, name)
    if (stored === undefined) throw new Error('It is not sealed')
    await makeStatement(stage.intake, stored, { kind: 'remove', reason: 'erased' }, id)
    expect(await isOnDisk(blobKey)).toBe(false)
    // As a store does that takes a request for as long as its signature is good.
    await writeFile(join(stage.folder, blobKey), content.bytes)
    stage.wait(15 * 60)
    await stage.sweep()
    expect(await isOnDisk(blobKey)).toBe(true)
    stage.wait(61)
    await stage.sweep()
    expect(await isOnDisk(blobKey)).toBe(false)
    expect(await stage.isSealed({ task, run, name })).toBe(true)
  })

  it('lets the second copy of the same content go, and keeps the first', async () => {
    const target = { task: 'twice', run: 0, name: 'a' }
    const first = await stage.openAndSend(target, content)
    const second = await stage.openAndSend(target, content)
    await stage.seal(first.id, content)
    await stage.seal(second.id, content)
    stage.wait(DAY_SECONDS)
    await stage.sweep()
    expect([await isOnDisk(first.blobKey), await isOnDisk(second.blobKey)]).toEqual([true, false])
  })

  it('drops old events and keeps the young', async () => {
    const old = await stage.open({ task: 'events', run: 0, name: 'old' })
    stage.wait(7201)
    const young = await stage.open({ task: 'events', run: 0, name: 'young' })
    await stage.sweep()
    expect([await events(old.id), await events(young.id)]).toEqual([
      [{ state: 'expired' }],
      [{ state: 'open' }],
    ])
  })

  it('may run on any number of servers at once, and ends each upload once', async () => {
    const uploads = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        stage.open({ task: 'many', run: 0, name: `${index}` }),
      ),
    )
    stage.wait(3600)
    await Promise.all([stage.sweep(), stage.sweep(), stage.sweep()])
    for (const { id } of uploads)
      expect(await events(id)).toEqual([{ state: 'open' }, { state: 'expired' }])
  })

  it('leaves no file of an unfinished upload behind in the end', async () => {
    stage.wait(DAY_SECONDS)
    await stage.sweep()
    stage.wait(DAY_SECONDS)
    await stage.sweep()
    const left = await readdir(join(stage.folder, 'incoming'), {
      recursive: true,
      withFileTypes: true,
    })
    expect(left.filter((entry) => entry.isFile())).toEqual([])
  })
})

describe('a name that was never sealed', () => {
  it('is free after an abort', async () => {
    const target = { task: 'free', run: 0, name: 'aborted' }
    const { id } = await stage.openAndSend(target, content)
    await abortUpload(stage.intake, await stage.find(id))
    const again = await stage.openAndSend(target, content)
    expect(await stage.seal(again.id, content)).toMatchObject({ state: 'sealed' })
  })

  it('is free after an upload expired', async () => {
    const target = { task: 'free', run: 0, name: 'expired' }
    await stage.openAndSend(target, content)
    stage.wait(3600)
    await stage.sweep()
    const again = await stage.openAndSend(target, content)
    expect(await stage.seal(again.id, content)).toMatchObject({ state: 'sealed' })
  })

  it('is free after a seal failed', async () => {
    const target = { task: 'free', run: 0, name: 'failed' }
    const { id, blobKey } = await stage.openAndSend(target, content)
    await stage.tamper(`incoming/${blobKey}`, (bytes) => bytes.fill(0, 1500, 1501))
    await expect(stage.seal(id, content)).rejects.toMatchObject({ code: 'part_mismatch' })
    const other = describeContent(Buffer.from('what it is to be instead'), 1000)
    const again = await stage.openAndSend(target, other)
    expect(await stage.seal(again.id, other)).toMatchObject({ state: 'sealed' })
  })
})
