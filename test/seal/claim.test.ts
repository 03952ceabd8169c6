/** What a client claims when it seals, and every way to claim it wrongly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Part } from '../../schemas/artifact.ts'
import { grantParts } from '../../server/intake/grants.ts'
import { openStage, type Stage } from '../support/stage.ts'
import { makeContent, sha256, type TestContent } from '../support/upload.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

const content = makeContent(2500, 'claimed', 1000)
const stranger = makeContent(2500, 'stranger', 1000)
const [one, two, three] = content.parts
if (one === undefined || two === undefined || three === undefined) throw new Error('three parts')

let runs = 0
const fresh = () => ({ task: 'claim', run: runs++, name: 'a' })

interface WrongClaim {
  parts?: Part[]
  sha256?: string
  sizeBytes?: string
}

const wrongClaims: [string, WrongClaim, string][] = [
  ['parts in another order', { parts: [two, one, three] }, 'part_mismatch'],
  [
    'part numbers in another order',
    { parts: [{ ...two, number: 1 }, { ...one, number: 2 }, three] },
    'part_mismatch',
  ],
  ['a part left out', { parts: [one, three] }, 'part_mismatch'],
  ['a part twice', { parts: [one, two, two, three] }, 'part_mismatch'],
  ['a number twice', { parts: [one, { ...two, number: 1 }, three] }, 'part_mismatch'],
  ['a part too many', { parts: [...content.parts, { ...three, number: 4 }] }, 'part_mismatch'],
  ['no part at all', { parts: [] }, 'part_mismatch'],
  ['a part of another size', { parts: [one, two, { ...three, sizeBytes: 499 }] }, 'part_mismatch'],
  [
    'a part with another digest',
    { parts: [one, { ...two, sha256: 'a'.repeat(64) }, three] },
    'part_mismatch',
  ],
  ['a size that is not the sum', { sizeBytes: '2501' }, 'part_mismatch'],
  ['a size that needs another part', { sizeBytes: '3001' }, 'part_mismatch'],
]

describe('requestSeal()', () => {
  it.each(wrongClaims)('refuses %s, and still takes the right claim', async (_, wrong, code) => {
    const target = fresh()
    const { id } = await stage.open(target)
    // Nothing was declared, so that only the parts can give it away; the size of parts is by plan.
    await stage.database.admin`update artifact.upload set part_size = 1000 where id = ${id}`
    await stage.send(id, content)
    const claim: TestContent = { ...content, ...wrong }
    await expect(stage.seal(id, claim)).rejects.toMatchObject({
      code,
      expected: expect.any(String),
      found: expect.any(String),
    })
    expect(await stage.isSealed(target)).toBe(false)
    expect((await stage.find(id)).state).toBe('open')
    expect(await stage.seal(id, content)).toMatchObject({ state: 'sealed' })
  })

  it('refuses another size than was declared at the opening', async () => {
    const { id } = await stage.openAndSend(fresh(), content)
    const claim = { ...content, sizeBytes: '1000', parts: [one], sha256: one.sha256 }
    await expect(stage.seal(id, claim)).rejects.toMatchObject({
      code: 'size_mismatch',
      expected: '2500 bytes',
      found: '1000 bytes',
    })
    expect((await stage.find(id)).state).toBe('open')
  })

  it('refuses another digest than was declared at the opening', async () => {
    const declared = { sha256: stranger.sha256 }
    const { id } = await stage.openAndSend(fresh(), content, declared)
    await expect(stage.seal(id, content)).rejects.toMatchObject({
      code: 'digest_mismatch',
      expected: stranger.sha256,
      found: content.sha256,
    })
    expect((await stage.find(id)).state).toBe('open')
  })

  it('fails the upload for good when only the digest of the whole is wrong', async () => {
    const target = fresh()
    const { id } = await stage.openAndSend(target, content)
    const claim = { ...content, sha256: stranger.sha256 }
    const problem = {
      code: 'digest_mismatch',
      expected: stranger.sha256,
      found: content.sha256,
    }
    await expect(stage.seal(id, claim)).rejects.toMatchObject(problem)
    // Only a client that knows what it sends gets a second try, with a new upload.
    await expect(stage.seal(id, claim)).rejects.toMatchObject(problem)
    await expect(stage.seal(id, content)).rejects.toMatchObject(problem)
    expect(await stage.find(id)).toMatchObject({ state: 'failed', problem })
    expect(await stage.isSealed(target)).toBe(false)
  })

  it('names the part that was never granted, and takes it afterwards', async () => {
    const { id } = await stage.open(fresh(), { sizeBytes: content.sizeBytes })
    await stage.send(id, content, [one, three])
    await expect(stage.seal(id, content)).rejects.toMatchObject({ code: 'part_missing' })
    await stage.send(id, content, [two])
    expect(await stage.seal(id, content)).toMatchObject({ state: 'sealed' })
  })

  it('opens the upload again when a granted part never came, and takes it afterwards', async () => {
    const { id } = await stage.open(fresh(), { sizeBytes: content.sizeBytes })
    await stage.send(id, content, [one, three])
    await grantParts(stage.intake, await stage.find(id), [two])
    await expect(stage.seal(id, content)).rejects.toMatchObject({ code: 'part_missing' })
    expect((await stage.find(id)).state).toBe('open')
    await stage.send(id, content, [two])
    expect(await stage.seal(id, content)).toMatchObject({ state: 'sealed' })
  })

  it.each([
    ['nothing', 0],
    ['one byte', 1],
    ['exactly one part', 1000],
    ['exactly three parts', 3000],
    ['three parts and a byte', 3001],
  ])('seals %s', async (_, sizeBytes) => {
    const whole = makeContent(sizeBytes, 'edge', 1000)
    const { id } = await stage.openAndSend(fresh(), whole)
    expect(await stage.seal(id, whole)).toMatchObject({ state: 'sealed' })
  })

  it.each(['reread', 'parts'])(
    'refuses a wrong digest of nothing under policy %s',
    async (policy) => {
      const nothing = makeContent(0)
      const { id } = await stage.openAndSend(fresh(), nothing, { policy })
      await expect(
        stage.seal(id, { ...nothing, sha256: sha256('something') }),
      ).rejects.toMatchObject({ code: 'digest_mismatch', found: sha256('something') })
    },
  )

  it('refuses a whole that is not its only part, also under policy parts', async () => {
    const small = makeContent(900, 'small', 1000)
    const { id } = await stage.openAndSend(fresh(), small, { policy: 'parts' })
    await expect(stage.seal(id, { ...small, sha256: stranger.sha256 })).rejects.toMatchObject({
      code: 'digest_mismatch',
    })
    expect(await stage.seal(id, small)).toMatchObject({ state: 'sealed' })
  })

  it('seals a stream that turned out shorter than what was granted', async () => {
    const cut = makeContent(1000, 'claimed', 1000)
    expect(cut.parts).toEqual([one])
    const { id } = await stage.open(fresh())
    await stage.database.admin`update artifact.upload set part_size = 1000 where id = ${id}`
    await grantParts(stage.intake, await stage.find(id), content.parts)
    await stage.send(id, content, [one])
    expect(await stage.seal(id, cut)).toMatchObject({ state: 'sealed' })
  })

  it('refuses a claim that leaves out what was sent', async () => {
    const target = fresh()
    const { id } = await stage.open(target)
    await stage.database.admin`update artifact.upload set part_size = 1000 where id = ${id}`
    await stage.send(id, content)
    const cut = makeContent(1000, 'claimed', 1000)
    await expect(stage.seal(id, cut)).rejects.toMatchObject({ code: 'size_mismatch' })
    expect(await stage.isSealed(target)).toBe(false)
  })
})
