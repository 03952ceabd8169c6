import { describe, expect, it } from 'vitest'
import { checkPin, formatLock, type LockFile, parseLock } from '../../client/trust/lock-file.ts'
import { openCheckpoint } from '../../client/verify/checkpoint.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { expectError, failure } from '../support/failure.ts'
import { LOG_SIGNER, mutateBytes } from '../support/log-keys.ts'
import { buildStaticLog } from '../support/static-log.ts'

const { key } = LOG_SIGNER
const { files } = buildStaticLog([Buffer.from('one'), Buffer.from('two')], LOG_SIGNER)
const head = openCheckpoint(files.get('checkpoint') ?? '', trustLog(key))
const SHA256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
const pin = { sha256: SHA256, sizeBytes: '3' }
const lock: LockFile = {
  anchor: { key, head },
  pins: new Map([
    ['turtle-db/7/db.dump', pin],
    ['a/0/é b', { ...pin, sizeBytes: '0' }],
    ['turtle-db/10/db.dump', pin],
  ]),
}

describe('formatLock()', () => {
  it('writes the example of the documentation', () => {
    expect(formatLock(lock).split('\n')).toEqual([
      'artifact-lock/v1',
      expect.stringMatching(/^key example\.com\/log\+[0-9a-f]{8}\+A/),
      'checkpoint',
      '\texample.com/log',
      '\t2',
      expect.stringMatching(/^\t[A-Za-z0-9+/]{43}=$/),
      '\t',
      expect.stringMatching(/^\t— example\.com\/log /),
      `artifact sha256:${SHA256} 0 a/0/é b`,
      `artifact sha256:${SHA256} 3 turtle-db/10/db.dump`,
      `artifact sha256:${SHA256} 3 turtle-db/7/db.dump`,
      '',
    ])
  })
})

describe('parseLock()', () => {
  it('reads what was written, with and without a log', () => {
    for (const one of [
      lock,
      { ...lock, anchor: undefined },
      { anchor: undefined, pins: new Map() },
    ]) {
      const back = parseLock(formatLock(one))
      expect(back.pins).toEqual(new Map([...one.pins].sort()))
      expect(back.anchor?.head.note).toBe(one.anchor?.head.note)
      expect(formatLock(back)).toBe(formatLock(one))
    }
  })

  it('takes one spelling alone, whichever byte is changed', () => {
    let read = 0
    for (const { mutant } of mutateBytes(Buffer.from(formatLock(lock)))) {
      try {
        const back = formatLock(parseLock(mutant))
        // Another pin is another pin; nothing else may be read in two ways.
        expect(back).toBe(Buffer.from(mutant).toString())
        read += 1
      } catch (error) {
        expect(error).toMatchObject({ code: 'configuration' })
      }
    }
    expect(read).toBeGreaterThan(0)
  })

  it.each([
    ['nothing', ''],
    ['another format', 'artifact-lock/v2\n'],
    ['line ends of Windows', formatLock(lock).replaceAll('\n', '\r\n')],
    ['an artifact twice', `artifact-lock/v1\n${`artifact sha256:${SHA256} 3 a/0/b\n`.repeat(2)}`],
    ['the run latest', `artifact-lock/v1\nartifact sha256:${SHA256} 3 a/latest/b\n`],
    ['a run alone', `artifact-lock/v1\nartifact sha256:${SHA256} 3 a/0\n`],
    ['no end', formatLock(lock).slice(0, -1)],
  ])('refuses %s', (_, text) => {
    expect(failure(() => parseLock(text))).toMatchObject({ code: 'configuration' })
  })
})

describe('checkPin()', () => {
  const record = { reference: 'turtle-db/7/db.dump', sha256: SHA256, sizeBytes: '3' }

  it('takes what is pinned, and nothing else', () => {
    expect(() => checkPin(lock.pins, record)).not.toThrow()
    const others = [{ sha256: SHA256.replace('b', 'a') }, { sizeBytes: '4' }]
    for (const other of others)
      expectError(() => checkPin(lock.pins, { ...record, ...other }), 'digest_mismatch')
    expectError(
      () => checkPin(lock.pins, { ...record, reference: 'turtle-db/8/db.dump' }),
      'not_pinned',
    )
  })
})
