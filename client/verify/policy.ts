/**
 * Whom to trust: which logs, and how many witnesses must have cosigned (C2SP tlog-policy, 2026-06).
 *
 *     policy  = *(line LF)
 *     line    = [ log / witness / group / quorum / "#" comment ]       ; space and tab around words
 *     log     = "log" verifier-key [url]
 *     witness = "witness" name verifier-key [url]
 *     group   = "group" name ("all" / "any" / 1*DIGIT) 1*name          ; names of earlier lines
 *     quorum  = "quorum" (name / "none")                               ; exactly one
 *
 * For example, with the keys shortened:
 *
 *     log example.com/log+530d903a+AekyeRrm…
 *     witness east east.example+5d5a1fc2+BJx2…
 *     witness west west.example+7c9a0b11+BPq1…
 *     group both all east west
 *     quorum both
 *
 * Stricter than the specification in one thing: the file is UTF-8.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { formatNoteKey, type NoteKey, parseNoteKey } from './note-key.ts'
import { decodeText } from './strict-text.ts'

/** Most lines of a policy that say something; 32 logs, witnesses and groups each must be taken. */
export const POLICY_LINES_MAX = 1000
const POLICY_BYTES_MAX = 1_000_000

export interface PolicyLog {
  /** Its name is the origin of the log. */
  key: NoteKey
  url?: string
}

export interface PolicyWitness {
  name: string
  key: NoteKey
  url?: string
}

/** Counts as one witness when `threshold` of its members, witnesses or earlier groups, count. */
export interface PolicyGroup {
  name: string
  /** From 1 to the number of members. */
  threshold: number
  members: readonly string[]
}

export interface Policy {
  /** Any of them will do. */
  logs: readonly PolicyLog[]
  witnesses: readonly PolicyWitness[]
  /** A group comes after its members. */
  groups: readonly PolicyGroup[]
  /** Name of a witness or a group, or `none`. */
  quorum: string
}

/** The policy that trusts one log and asks for no witness; throws `usage` for the key of a witness. */
export function trustLog(key: NoteKey): Policy {
  if (key.kind !== 'note') throw unreadable('the key of a log is of type 1')
  return { logs: [{ key }], witnesses: [], groups: [], quorum: 'none' }
}

/** Reads a policy; throws `usage` with the number of the line. */
export function parsePolicy(source: string | Uint8Array): Policy {
  const text = source.length > POLICY_BYTES_MAX ? undefined : decodeText(source)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  if (text === undefined || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text))
    throw unreadable(
      'it must be UTF-8 without control characters, lines ended by a line feed alone',
    )
  const draft: Draft = { logs: [], witnesses: [], groups: [], quorums: [], members: new Set() }
  let count = 0
  text.split('\n').forEach((line, index) => {
    const words = line.split(/[ \t]+/).filter((word) => word !== '')
    if (words.length === 0 || words[0]?.startsWith('#')) return
    count += 1
    const fault =
      count > POLICY_LINES_MAX ? `more than ${POLICY_LINES_MAX} lines` : readLine(draft, words)
    if (fault !== undefined) throw unreadable(`line ${index + 1}: ${fault}`)
  })
  const { logs, witnesses, groups, quorums } = draft
  const [quorum] = quorums
  if (quorum === undefined) throw unreadable('it has no quorum line')
  return { logs, witnesses, groups, quorum }
}

/** The inverse of {@link parsePolicy}, comments and spacing aside. */
export function formatPolicy({ logs, witnesses, groups, quorum }: Policy): string {
  const withUrl = (url: string | undefined) => (url === undefined ? '' : ` ${url}`)
  return [
    ...logs.map(({ key, url }) => `log ${formatNoteKey(key)}${withUrl(url)}\n`),
    ...witnesses.map(
      ({ name, key, url }) => `witness ${name} ${formatNoteKey(key)}${withUrl(url)}\n`,
    ),
    ...groups.map(({ name, threshold, members }) => {
      return `group ${name} ${threshold} ${members.join(' ')}\n`
    }),
    `quorum ${quorum}\n`,
  ].join('')
}

/** Whether the witnesses named suffice for the quorum of the policy. */
export function isQuorum(policy: Policy, cosigners: ReadonlySet<string>): boolean {
  if (policy.quorum === 'none') return true
  const counted = new Set(
    policy.witnesses.map(({ name }) => name).filter((name) => cosigners.has(name)),
  )
  for (const { name, threshold, members } of policy.groups)
    if (members.filter((member) => counted.has(member)).length >= threshold) counted.add(name)
  return counted.has(policy.quorum)
}

interface Draft {
  logs: PolicyLog[]
  witnesses: PolicyWitness[]
  groups: PolicyGroup[]
  quorums: string[]
  /** Names that are a member of some group: each may be once, so that nobody counts twice. */
  members: Set<string>
}

/** Adds what a line says; gives the fault when it cannot. */
function readLine(draft: Draft, [verb, ...words]: string[]): string | undefined {
  switch (verb) {
    case 'log':
      return readLog(draft, words)
    case 'witness':
      return readWitness(draft, words)
    case 'group':
      return readGroup(draft, words)
    case 'quorum':
      return readQuorum(draft, words)
    default:
      return 'expected log, witness, group or quorum'
  }
}

function readLog(draft: Draft, words: string[]): string | undefined {
  const [text, url] = words
  if (text === undefined || words.length > 2) return 'expected log KEY [URL]'
  const key = readKey(text, 'note')
  if (typeof key === 'string') return key
  if (draft.logs.some((log) => isSameKey(log.key, key)))
    return 'the key of this log is there already'
  draft.logs.push({ key, ...(url === undefined ? {} : { url }) })
  return undefined
}

function readWitness(draft: Draft, words: string[]): string | undefined {
  const [name, text, url] = words
  if (name === undefined || text === undefined || words.length > 3)
    return 'expected witness NAME KEY [URL]'
  const key = readKey(text, 'cosignature')
  if (typeof key === 'string') return key
  if (isTaken(draft, name)) return `the name ${name} is taken`
  if (draft.witnesses.some((witness) => isSameKey(witness.key, key)))
    return 'the key of this witness is there already'
  draft.witnesses.push({ name, key, ...(url === undefined ? {} : { url }) })
  return undefined
}

function readGroup(draft: Draft, [name, rule, ...members]: string[]): string | undefined {
  if (name === undefined || rule === undefined || members.length === 0)
    return 'expected group NAME all|any|COUNT NAME...'
  const threshold = rule === 'all' ? members.length : rule === 'any' ? 1 : Number(rule)
  const isCount = /^(all|any|[1-9][0-9]{0,3})$/.test(rule) && threshold <= members.length
  if (!isCount) return `expected all, any, or 1 to ${members.length}`
  if (isTaken(draft, name)) return `the name ${name} is taken`
  for (const member of members) {
    if (!isDefined(draft, member)) return `there is no ${member} above`
    if (draft.members.has(member)) return `${member} is a member of a group already`
    draft.members.add(member)
  }
  draft.groups.push({ name, threshold, members })
  return undefined
}

function readQuorum(draft: Draft, [name, ...rest]: string[]): string | undefined {
  if (name === undefined || rest.length > 0) return 'expected quorum NAME or quorum none'
  if (draft.quorums.length > 0) return 'there is a quorum already'
  if (name !== 'none' && !isDefined(draft, name)) return `there is no ${name} above`
  draft.quorums.push(name)
  return undefined
}

function readKey(text: string, kind: NoteKey['kind']): NoteKey | string {
  try {
    const key = parseNoteKey(text)
    return key.kind === kind ? key : `expected a key of type ${kind === 'note' ? 1 : 4}`
  } catch (error) {
    if (error instanceof ArtifactError) return error.message
    throw error
  }
}

const isSameKey = (one: NoteKey, other: NoteKey) =>
  Buffer.compare(one.publicKey, other.publicKey) === 0

const isDefined = ({ witnesses, groups }: Draft, name: string) =>
  [...witnesses, ...groups].some((one) => one.name === name)

const isTaken = (draft: Draft, name: string) => name === 'none' || isDefined(draft, name)

function unreadable(reason: string): ArtifactError {
  return new ArtifactError('usage', `Cannot read the trust policy: ${reason}`)
}
