import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createNoteSigner,
  formatNoteKey,
  formatNoteSigner,
  parseNoteKey,
  parseNoteSigner,
} from '../../client/verify/note-key.ts'
import {
  addSignature,
  formatNote,
  NOTE_SIGNATURES_MAX,
  parseNote,
  signNote,
  signText,
  verifySignatures,
} from '../../client/verify/signed-note.ts'
import { EAST_SIGNER, LOG_SIGNER, mutateBytes, testSigner } from '../support/log-keys.ts'

/** From the specification. */
const SPEC_KEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
const SPEC_NOTE =
  'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n'
/** From the documentation of Go. */
const GO_SIGNER = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
const GO_KEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const GO_TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
const GO_NOTE = `${GO_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`

const code = (value: string) => expect.objectContaining({ code: value })

describe('parseNoteKey()', () => {
  it('reads the keys of the specification and of Go, and writes them again', () => {
    for (const text of [SPEC_KEY, GO_KEY]) expect(formatNoteKey(parseNoteKey(text))).toBe(text)
    expect(parseNoteKey(SPEC_KEY)).toMatchObject({
      name: 'example.com/foo',
      id: '530d903a',
      kind: 'note',
    })
  })

  it('refuses a key that differs in any byte', () => {
    const accepted = [...mutateBytes(Buffer.from(SPEC_KEY))].filter(({ mutant }) => {
      try {
        parseNoteKey(Buffer.from(mutant).toString())
        return true
      } catch {
        return false
      }
    })
    expect(accepted).toEqual([])
  })

  it('refuses other types, spaces, a plus and line ends', () => {
    const east = formatNoteKey(EAST_SIGNER.key)
    expect(parseNoteKey(east).kind).toBe('cosignature')
    for (const text of [
      '',
      'a+b',
      `${SPEC_KEY}\n`,
      ` ${SPEC_KEY}`,
      SPEC_KEY.replace('/', '\u2003'),
    ])
      expect(() => parseNoteKey(text)).toThrow(code('usage'))
  })
})

describe('parseNoteSigner()', () => {
  it('signs as Go signs, byte for byte', () => {
    const signer = parseNoteSigner(GO_SIGNER)
    expect(formatNoteKey(signer.key)).toBe(GO_KEY)
    expect(signNote(GO_TEXT, [signer])).toBe(GO_NOTE)
  })

  it('is undone by formatNoteSigner()', () => {
    const text = formatNoteSigner('a.example', 'cosignature', new Uint8Array(32).fill(9))
    expect(formatNoteKey(parseNoteSigner(text).key)).toBe(
      formatNoteKey(testSigner('a.example', 'cosignature', 9).key),
    )
  })

  it('shows nothing of a key that it cannot read', () => {
    const secret = GO_SIGNER.slice(-30)
    for (const text of [`${GO_SIGNER} `, GO_SIGNER.replace('c74f', 'c74e'), secret]) {
      try {
        parseNoteSigner(text)
        throw new Error('it was read')
      } catch (error) {
        expect(JSON.stringify([error, String(error)])).not.toContain(secret.slice(0, 12))
        expect(error).toMatchObject({ code: 'usage' })
      }
    }
  })

  it('refuses a seed of another length', () => {
    expect(() => createNoteSigner('a', 'note', new Uint8Array(31))).toThrow(code('usage'))
    expect(() => createNoteSigner('a b', 'note', new Uint8Array(32))).toThrow(code('usage'))
  })
})

describe('parseNote()', () => {
  it('reads the notes of the specification and of Go, whose signatures hold', () => {
    for (const [note, key] of [
      [SPEC_NOTE, SPEC_KEY],
      [GO_NOTE, GO_KEY],
    ] as const) {
      expect(formatNote(parseNote(note))).toBe(note)
      expect(verifySignatures(parseNote(Buffer.from(note)), [parseNoteKey(key)])).toHaveLength(1)
    }
  })

  it('ends the text at the last empty line, not at the first', () => {
    const text = 'one\n\ntwo\n\n\nthree\n'
    const note = signNote(text, [LOG_SIGNER])
    expect(parseNote(note).text).toBe(text)
    expect(verifySignatures(parseNote(note), [LOG_SIGNER.key])).toHaveLength(1)
  })

  it('is undone by formatNote() for whatever it accepts', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 20 })
    fc.assert(
      fc.property(fc.array(line, { minLength: 1 }), (lines) => {
        const text = lines.map((one) => `${one.replace(/\p{Cc}/gu, '')}\n`).join('')
        const note = signNote(text, [LOG_SIGNER])
        expect(parseNote(note).text).toBe(text)
        expect(formatNote(parseNote(note))).toBe(note)
      }),
    )
  })

  it('refuses what is not a note', () => {
    const line = SPEC_NOTE.split('\n')[2] ?? ''
    const broken = [
      '',
      '\n',
      'text\n',
      'text\n\n',
      'text\n\n\n',
      SPEC_NOTE.slice(0, -1),
      `${SPEC_NOTE}\n`,
      `\uFEFF${SPEC_NOTE}`.replace('This', '\u0000'),
      SPEC_NOTE.replaceAll('\n', '\r\n'),
      `text\n\n${line} \n`,
      `text\n\n ${line}\n`,
      `text\n\n${line.replace('—', '-')}\n`,
      `text\n\n${line.replace('— ', '—  ')}\n`,
      `text\n\n${line.replace('=', '')}\n`,
      `text\n\n${line}=\n`,
      `text\n\n${line.replace('foo', 'f+o')}\n`,
      `text\n\n${line.replace('foo', 'f\u00a0o')}\n`,
      'text\n\n— example.com/foo Uw2QOg==\n',
      `text\n\n${`${line}\n`.repeat(NOTE_SIGNATURES_MAX + 1)}`,
      `${'x'.repeat(1_000_001)}\n\n${line}\n`,
    ]
    for (const note of broken) expect(() => parseNote(note)).toThrow(code('log_malformed'))
    const invalid = Buffer.concat([Buffer.of(0xc3, 0x28), Buffer.from(SPEC_NOTE)])
    expect(() => parseNote(invalid)).toThrow(code('log_malformed'))
    expect(() => parseNote(`\ud800${SPEC_NOTE}`)).toThrow(code('log_malformed'))
  })

  it('keeps a byte order mark as a part of the text', () => {
    expect(parseNote(Buffer.from(`\uFEFF${SPEC_NOTE}`)).text.startsWith('\uFEFFThis')).toBe(true)
  })
})

describe('verifySignatures()', () => {
  const key = parseNoteKey(SPEC_KEY)
  const note = parseNote(SPEC_NOTE)

  it('gives no verified signature for a note that differs in any byte', () => {
    const mutants = [...mutateBytes(Buffer.from(SPEC_NOTE))]
    const accepted = mutants.filter(({ mutant }) => {
      try {
        return verifySignatures(parseNote(mutant), [key]).length > 0
      } catch {
        return false
      }
    })
    expect(accepted).toEqual([])
    expect(mutants.length).toBeGreaterThan(1000)
  })

  it('passes over signatures by unknown keys, among them ones that share a name or an id', () => {
    const sameName = { name: key.name, id: '00000000', signature: new Uint8Array(64) }
    const sameId = { name: 'other.example', id: key.id, signature: new Uint8Array(3) }
    const unknown = signText(note.text, LOG_SIGNER)
    const greased = [sameName, sameId, unknown].reduce(addSignature, note)
    expect(verifySignatures(greased, [key]).map((one) => one.key)).toEqual([key])
    expect(verifySignatures(note, [LOG_SIGNER.key])).toEqual([])
  })

  it('refuses the whole note when one signature by a known key does not hold', () => {
    const forged = {
      name: LOG_SIGNER.key.name,
      id: LOG_SIGNER.key.id,
      signature: new Uint8Array(64),
    }
    const twice = addSignature(addSignature(note, signText(note.text, LOG_SIGNER)), forged)
    expect(() => verifySignatures(twice, [key, LOG_SIGNER.key])).toThrow(code('log_signature'))
    expect(() => verifySignatures(addSignature(note, forged), [key, LOG_SIGNER.key])).toThrow(
      code('log_signature'),
    )
  })

  it('tells when a witness cosigned, and refuses another time', () => {
    const text =
      'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
    const cosigned = parseNote(signNote(text, [EAST_SIGNER], 1_679_315_147))
    const [verified] = verifySignatures(cosigned, [EAST_SIGNER.key])
    expect(verified).toMatchObject({ timeSeconds: 1_679_315_147 })
    const [signature] = cosigned.signatures
    if (signature === undefined) throw new Error('no signature')
    for (let byte = 0; byte < signature.signature.length; byte += 1) {
      const bytes = Uint8Array.from(signature.signature)
      bytes[byte] = (bytes[byte] ?? 0) ^ 1
      const other = { text, signatures: [{ ...signature, signature: bytes }] }
      expect(() => verifySignatures(other, [EAST_SIGNER.key])).toThrow(code('log_signature'))
    }
  })

  it('needs a time to cosign', () => {
    for (const time of [undefined, -1, 0.5, 2 ** 53])
      expect(() => signText('text\n', EAST_SIGNER, time)).toThrow(RangeError)
  })
})
