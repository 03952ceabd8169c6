import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readGivenPolicy } from '../../client/trust/given-policy.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { EAST_SIGNER, LOG_SIGNER } from '../support/log-keys.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const key = formatNoteKey(LOG_SIGNER.key)
const witness = formatNoteKey(EAST_SIGNER.key)

let work: WorkFolder
beforeAll(async () => {
  work = await makeWorkFolder()
  await writeFile(work.at('log.pub'), `${key}\n`)
  await writeFile(work.at('policy'), `log ${key}\nwitness east ${witness}\nquorum east\n`)
  await writeFile(work.at('huge'), 'x'.repeat(1_000_001))
})
afterAll(() => work[Symbol.asyncDispose]())

describe('readGivenPolicy()', () => {
  it('takes a key as text or from a file, or a policy from a file', async () => {
    for (const given of [key, work.at('log.pub')])
      expect((await readGivenPolicy({ key: given }))?.logs[0]?.key.id).toBe(LOG_SIGNER.key.id)
    expect((await readGivenPolicy({ policyFile: work.at('policy') }))?.quorum).toBe('east')
    expect(await readGivenPolicy({})).toBeUndefined()
  })

  it.each([
    ['a key with another id', { key: key.replace(/\+[0-9a-f]{8}\+/, '+00000000+') }, 'usage'],
    ['the key of a witness', { key: witness }, 'usage'],
    ['a file that is not there', { key: 'no/such/file' }, 'local_io'],
    ['a key and a policy', { key, policyFile: 'policy' }, 'usage'],
  ])('refuses %s', async (_, given, code) => {
    await expect(readGivenPolicy(given)).rejects.toMatchObject({ code })
  })

  it('refuses files that are something else, or too large', async () => {
    const key = work.at('policy')
    await expect(readGivenPolicy({ key })).rejects.toMatchObject({ code: 'usage' })
    const policyFile = work.at('log.pub')
    await expect(readGivenPolicy({ policyFile })).rejects.toMatchObject({ code: 'usage' })
    const huge = { policyFile: work.at('huge') }
    await expect(readGivenPolicy(huge)).rejects.toMatchObject({ code: 'local_io' })
  })
})
