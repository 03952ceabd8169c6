/** An adversary against the signatures of the filesystem store. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { createGranter } from '../../server/stores/filesystem-grants.ts'

const NOW = new Date('2026-11-21T12:00:00Z')
const secret = randomBytes(32)
const granter = createGranter(secret, () => NOW)
const part = { number: 3, sizeBytes: 1000, sha256: 'ab'.repeat(32) }
const permission = { key: 'blobs/ab/abcd', part, offset: 2000 }
const reading = {
  key: 'blobs/ab/abcd',
  tag: '"tag-1"',
  fileName: 'a&b=c d.txt',
  contentType: 'text/plain; charset=utf-8',
  bound: true,
}

function addressOf(url: string) {
  const { pathname, searchParams } = new URL(url, 'http://server')
  return { path: pathname, query: searchParams }
}

const codeOf = (action: () => unknown) => {
  try {
    action()
    return 'accepted'
  } catch (error) {
    return error instanceof ArtifactError ? error.code : 'broken'
  }
}

describe('createGranter()', () => {
  it('gives back what it signed', () => {
    const put = granter.grantPart(permission, 60)
    expect(granter.checkPart(addressOf(put.url))).toEqual(permission)
    expect(put.expiresAt).toBe('2026-11-21T12:01:00.000Z')
    const get = granter.grantRead(reading, 60)
    expect(granter.checkRead(addressOf(get.url))).toEqual(reading)
    expect(get.headers).toEqual({ 'if-match': '"tag-1"' })
  })

  it('gives back any name and tag that it signed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (fileName, tag) => {
        const words = { ...reading, fileName, tag }
        const checked = granter.checkRead(addressOf(granter.grantRead(words, 60).url))
        expect(checked).toEqual({ ...words, fileName: fileName.toWellFormed() })
      }),
    )
  })

  it('ends to the second', () => {
    const address = addressOf(granter.grantPart(permission, 60).url)
    const at = (ms: number) => createGranter(secret, () => new Date(NOW.getTime() + ms))
    expect(codeOf(() => at(59_999).checkPart(address))).toBe('accepted')
    expect(codeOf(() => at(60_000).checkPart(address))).toBe('grant_expired')
  })

  it('refuses every single-character change of the address', () => {
    const { url } = granter.grantPart(permission, 60)
    for (let at = 0; at < url.length; at += 1)
      for (const other of ['0', 'A', '/', '%', '&', '=']) {
        if (url[at] === other) continue
        const forged = url.slice(0, at) + other + url.slice(at + 1)
        expect(
          codeOf(() => granter.checkPart(addressOf(forged))),
          forged,
        ).toBe('grant_invalid')
      }
  })

  it('refuses every cut of the address, and anything after it', () => {
    const { url } = granter.grantPart(permission, 60)
    for (let length = 1; length < url.length; length += 1)
      expect(codeOf(() => granter.checkPart(addressOf(url.slice(0, length))))).toBe('grant_invalid')
    for (const more of ['&part=4', '&size=1', '&other=1', '&signature=', '&expires=9999999999'])
      expect(codeOf(() => granter.checkPart(addressOf(url + more)))).toBe('grant_invalid')
  })

  it('refuses to move text from one value into the next', () => {
    const { url } = granter.grantPart(permission, 60)
    const query = new URLSearchParams(url.split('?')[1])
    query.set('part', '32')
    query.set('offset', '000')
    expect(codeOf(() => granter.checkPart({ path: '/v1/blobs/ab/abcd', query }))).toBe(
      'grant_invalid',
    )
  })

  it('refuses a write grant as a read grant and the other way round', () => {
    const put = addressOf(granter.grantPart(permission, 60).url)
    const get = addressOf(granter.grantRead(reading, 60).url)
    expect(codeOf(() => granter.checkRead(put))).toBe('grant_invalid')
    expect(codeOf(() => granter.checkPart(get))).toBe('grant_invalid')
  })

  it('refuses the grants of another secret', () => {
    const other = createGranter(randomBytes(32), () => NOW)
    const address = addressOf(other.grantPart(permission, 60).url)
    expect(codeOf(() => granter.checkPart(address))).toBe('grant_invalid')
  })

  it('refuses paths that are not keys', () => {
    const { query } = addressOf(granter.grantPart(permission, 60).url)
    for (const path of ['/v1/blobs/ab/abcd/', '/v1//blobs/ab/abcd', '/v1/blobs/ab/%61bcd', '/'])
      expect(codeOf(() => granter.checkPart({ path, query }))).toBe('grant_invalid')
  })
})
