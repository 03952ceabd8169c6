import { describe, expect, it } from 'vitest'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { formatPolicy, isQuorum, parsePolicy, trustLog } from '../../client/verify/policy.ts'
import { EAST_SIGNER, LOG_SIGNER, testSigner } from '../support/log-keys.ts'

const log = formatNoteKey(LOG_SIGNER.key)
const witnessKey = (seed: number) =>
  formatNoteKey(testSigner(`w${seed}.example`, 'cosignature', seed).key)

/** The example of the specification, with keys. */
const EXAMPLE = `# who we trust
log ${log} https://example.com/log

witness X1 ${witnessKey(11)}
witness X2 ${witnessKey(12)} https://x2.example
\twitness  X3\t${witnessKey(13)}${' '}
group X-witnesses 2 X1 X2 X3

witness Y1 ${witnessKey(21)}
witness Y2 ${witnessKey(22)}
witness Y3 ${witnessKey(23)}
group Y-witnesses any Y1 Y2 Y3

  # both
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`

describe('parsePolicy()', () => {
  it('reads the example of the specification', () => {
    const policy = parsePolicy(EXAMPLE)
    expect(policy.logs.map(({ key, url }) => [key.name, url])).toEqual([
      ['example.com/log', 'https://example.com/log'],
    ])
    expect(policy.witnesses.map(({ name }) => name)).toEqual(['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'])
    expect(policy.groups).toEqual([
      { name: 'X-witnesses', threshold: 2, members: ['X1', 'X2', 'X3'] },
      { name: 'Y-witnesses', threshold: 1, members: ['Y1', 'Y2', 'Y3'] },
      { name: 'X-and-Y', threshold: 2, members: ['X-witnesses', 'Y-witnesses'] },
    ])
    expect(policy.quorum).toBe('X-and-Y')
  })

  it('reads what formatPolicy() writes', () => {
    const text = formatPolicy(parsePolicy(Buffer.from(EXAMPLE)))
    expect(formatPolicy(parsePolicy(text))).toBe(text)
    expect(formatPolicy(trustLog(LOG_SIGNER.key))).toBe(`log ${log}\nquorum none\n`)
  })

  const one = `witness w ${witnessKey(11)}\n`
  it.each([
    ['no quorum', `log ${log}\n`],
    ['two quorums', `${one}quorum w\nquorum none\n`],
    ['a quorum of nobody', 'quorum w\n'],
    ['a quorum before its witness', `quorum w\n${one}`],
    ['one log twice', `log ${log}\nlog ${log}\nquorum none\n`],
    ['one witness twice under two names', `${one}${one.replace(' w ', ' v ')}quorum none\n`],
    ['a name twice', `${one}witness w ${witnessKey(12)}\nquorum none\n`],
    ['a group with the name of a witness', `${one}group w any w\nquorum none\n`],
    ['a witness called none', `${one.replace(' w ', ' none ')}quorum none\n`],
    ['none in a group', `${one}group g any w none\nquorum g\n`],
    ['a member twice in a group', `${one}group g 1 w w\nquorum g\n`],
    ['a member of two groups', `${one}group g any w\ngroup h any w\nquorum g\n`],
    ['a group of nobody', `${one}group g any\nquorum none\n`],
    ['a group in itself', `${one}group g any g\nquorum g\n`],
    ['a count of none', `${one}group g 0 w\nquorum g\n`],
    ['a count above the members', `${one}group g 2 w\nquorum g\n`],
    ['a count with a zero in front', `${one}group g 01 w\nquorum g\n`],
    ['a witness with the key of a log', `witness w ${log}\nquorum w\n`],
    ['a log with the key of a witness', `log ${witnessKey(11)}\nquorum none\n`],
    ['an unknown word', `trust ${log}\nquorum none\n`],
    ['a word too many', `log ${log} url more\nquorum none\n`],
    ['a carriage return', `log ${log}\r\nquorum none\r\n`],
    ['a broken key', `log ${log.slice(0, -1)}\nquorum none\n`],
    ['a comment after a line', `quorum none # why not\n`],
  ])('refuses %s', (_, text) => {
    expect(() => parsePolicy(text)).toThrow(expect.objectContaining({ code: 'usage' }))
  })

  it('names the line at fault', () => {
    expect(() => parsePolicy(`# hello\n\nlog ${log} a b\n`)).toThrow('line 3')
  })

  it('takes 32 logs, witnesses and groups', () => {
    const each = Array.from({ length: 32 }, (_, at) => at)
    const text = [
      ...each.map((at) => `log ${formatNoteKey(testSigner(`l${at}`, 'note', 100 + at).key)}\n`),
      ...each.map((at) => `witness w${at} ${witnessKey(150 + at)}\n`),
      ...each.map((at) => `group g${at} all w${at}\n`),
      `quorum g31\n`,
    ].join('')
    expect(parsePolicy(text).groups).toHaveLength(32)
  })
})

describe('isQuorum()', () => {
  const policy = parsePolicy(EXAMPLE)

  it.each([
    [[], false],
    [['X1', 'X2'], false],
    [['Y1', 'Y2', 'Y3'], false],
    [['X1', 'Y1'], false],
    [['X1', 'X3', 'Y2'], true],
    [['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'], true],
    [['X-witnesses', 'Y-witnesses', 'X-and-Y'], false],
  ])('counts %j as %s', (names, expected) => {
    expect(isQuorum(policy, new Set(names))).toBe(expected)
  })

  it('asks nobody when the quorum is none', () => {
    expect(isQuorum(trustLog(LOG_SIGNER.key), new Set())).toBe(true)
  })

  it('refuses the key of a witness as that of a log', () => {
    expect(() => trustLog(EAST_SIGNER.key)).toThrow(expect.objectContaining({ code: 'usage' }))
  })
})
