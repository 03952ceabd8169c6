import { describe, expect, it } from 'vitest'
import {
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
} from '../../client/verify/checkpoint.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { parsePolicy, trustLog } from '../../client/verify/policy.ts'
import {
  addSignature,
  formatNote,
  parseNote,
  signNote,
  signText,
} from '../../client/verify/signed-note.ts'
import {
  EAST_SIGNER,
  LOG_SIGNER,
  mutateBytes,
  testSigner,
  WEST_SIGNER,
} from '../support/log-keys.ts'

/** The body in the specification. */
const EXAMPLE =
  'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
const head = { origin: 'example.com/log', size: 7, root: hashLeaf(Buffer.of(7)) }
const text = formatCheckpoint(head)
const note = signNote(text, [LOG_SIGNER])
const code = (value: string) => expect.objectContaining({ code: value })

describe('parseCheckpoint()', () => {
  it('reads the example of the specification, and formatCheckpoint() writes it', () => {
    const checkpoint = parseCheckpoint(EXAMPLE)
    expect(checkpoint).toMatchObject({ origin: 'example.com/behind-the-sofa', size: 20_852_163 })
    expect(formatCheckpoint(checkpoint)).toBe(EXAMPLE)
  })

  it('passes over extension lines, whatever they say', () => {
    const more = `${text}8\n${head.origin}\n`
    expect(parseCheckpoint(more)).toEqual(head)
    expect(openCheckpoint(signNote(more, [LOG_SIGNER]), trustLog(LOG_SIGNER.key)).size).toBe(7)
  })

  it.each([
    '',
    '\n7\n',
    text.slice(0, -1),
    text.replace('\n7\n', '\n07\n'),
    text.replace('\n7\n', '\n+7\n'),
    text.replace('\n7\n', '\n 7\n'),
    text.replace('\n7\n', '\n0x7\n'),
    text.replace('\n7\n', '\n7.0\n'),
    text.replace('\n7\n', '\n-7\n'),
    text.replace('\n7\n', '\n9007199254740992\n'),
    text.replace('=\n', '\n'),
    text.replace('example.com/log\n', '\n'),
    `${text}\n`,
    `${text}extension\n\n`,
    'example.com/log\n7\nAAAA\n',
  ])('refuses %j', (broken) => {
    expect(() => parseCheckpoint(broken)).toThrow(code('log_malformed'))
  })
})

describe('formatCheckpoint()', () => {
  it('refuses a head that is none', () => {
    for (const broken of [{ size: -1 }, { size: 1.5 }, { root: Buffer.of(1) }, { origin: 'a\nb' }])
      expect(() => formatCheckpoint({ ...head, ...broken })).toThrow(RangeError)
  })
})

describe('openCheckpoint()', () => {
  const policy = trustLog(LOG_SIGNER.key)

  it('gives the head that a trusted log signed, and keeps the note as it came', () => {
    const opened = openCheckpoint(Buffer.from(note), policy)
    expect(opened).toMatchObject({ ...head, note, cosignatures: [] })
    expect(opened.key).toBe(LOG_SIGNER.key)
  })

  it('refuses a note that differs in any byte', () => {
    const mutants = [...mutateBytes(Buffer.from(note))]
    const accepted = mutants.filter(({ mutant }) => {
      try {
        openCheckpoint(mutant, policy)
        return true
      } catch {
        return false
      }
    })
    expect(accepted).toEqual([])
    expect(mutants.length).toBeGreaterThan(1200)
  })

  it('refuses every beginning of a note', () => {
    for (let end = 0; end < note.length; end += 1)
      expect(() => openCheckpoint(note.slice(0, end), policy)).toThrow()
  })

  it('refuses a log that nobody trusts, and a trusted one that speaks for another', () => {
    const other = testSigner('example.com/other', 'note', 5)
    expect(() => openCheckpoint(note, trustLog(other.key))).toThrow(code('log_signature'))
    const both = { ...policy, logs: [{ key: LOG_SIGNER.key }, { key: other.key }] }
    expect(() => openCheckpoint(signNote(text, [other]), both)).toThrow(code('log_signature'))
    const namesake = testSigner(LOG_SIGNER.key.name, 'note', 6)
    expect(() => openCheckpoint(signNote(text, [namesake]), policy)).toThrow(code('log_signature'))
  })

  it('tolerates signatures that it does not know, in any place', () => {
    const grease = { name: 'grease.example', id: 'ffffffff', signature: Buffer.of(1, 2, 3) }
    const { signatures } = parseNote(note)
    for (const mixed of [
      [grease, ...signatures],
      [...signatures, grease],
    ])
      expect(openCheckpoint(formatNote({ text, signatures: mixed }), policy).size).toBe(7)
  })
})

describe('openCheckpoint() with witnesses', () => {
  const policy = parsePolicy(
    `log ${formatNoteKey(LOG_SIGNER.key)}
witness east ${formatNoteKey(EAST_SIGNER.key)}
witness west ${formatNoteKey(WEST_SIGNER.key)}
group both all east west
quorum both
`,
  )
  const cosign = (base: string, signer: typeof EAST_SIGNER, time: number) =>
    formatNote(addSignature(parseNote(base), signText(text, signer, time)))

  it('asks for the quorum of its policy, and tells who cosigned when', () => {
    const one = cosign(note, EAST_SIGNER, 100)
    expect(() => openCheckpoint(note, policy)).toThrow(code('log_policy'))
    expect(() => openCheckpoint(one, policy)).toThrow(
      expect.objectContaining({ code: 'log_policy', expected: 'quorum both', found: 'east' }),
    )
    const opened = openCheckpoint(cosign(one, WEST_SIGNER, 200), policy)
    expect(opened.cosignatures.map((by) => [by.witness.name, by.timeSeconds])).toEqual([
      ['east', 100],
      ['west', 200],
    ])
  })

  it('counts a witness that cosigned twice once', () => {
    const twice = cosign(cosign(note, EAST_SIGNER, 100), EAST_SIGNER, 101)
    expect(() => openCheckpoint(twice, policy)).toThrow(code('log_policy'))
  })

  it('takes no cosignature for the signature of the log', () => {
    const unsigned = signNote(text, [EAST_SIGNER, WEST_SIGNER], 100)
    expect(() => openCheckpoint(unsigned, policy)).toThrow(code('log_signature'))
  })

  it('refuses a cosignature of another head', () => {
    const other = formatCheckpoint({ ...head, size: 8 })
    const moved = addSignature(parseNote(note), signText(other, EAST_SIGNER, 100))
    expect(() => openCheckpoint(formatNote(moved), policy)).toThrow(code('log_signature'))
  })
})
