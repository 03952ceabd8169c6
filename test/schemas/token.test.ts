import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CreateToken, SCOPES_MAX, Scope } from '../../schemas/token.ts'

const isScope = (text: unknown) => Scope.safeParse(text).success

describe('Scope', () => {
  it('accepts what its grammar derives', () => {
    const verb = fc.constantFrom('upload', 'get', 'list')
    const task = fc.stringMatching(/^[A-Za-z0-9._*-]{1,40}$/)
    const name = fc.stringMatching(/^[A-Za-z0-9._*/ é-]{1,60}$/)
    fc.assert(fc.property(verb, task, name, (a, b, c) => isScope(`${a}:${b}/${c}`)))
    expect(isScope('admin')).toBe(true)
  })

  it('accepts its examples', () => {
    expect(
      ['upload:nightly-*/**', 'get:turtle-db/public/**', 'list:*/**'].filter(
        (text) => !isScope(text),
      ),
    ).toEqual([])
  })

  it('refuses whatever could be read as more than it says', () => {
    const faulty = [
      '',
      '*',
      '**',
      'Admin',
      'admin ',
      'admin\n',
      'admin:',
      'admin:a/b',
      'upload',
      'upload:',
      'upload:a',
      'upload:a/',
      'upload:/b',
      'write:a/b',
      'upload: a/b',
      'get:a\\b/c',
      'get:a/b\\c',
      'get:a/\0',
      'get:a/b\n',
      'get:a b/c',
      `get:${'a'.repeat(161)}/b`,
      `get:a/${'b'.repeat(513)}`,
      7,
      null,
    ]
    expect(faulty.filter(isScope)).toEqual([])
  })

  it('has no text that is two scopes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        if (isScope(text)) expect(text).toMatch(/^(admin|(upload|get|list):[^/]+\/.+)$/)
      }),
    )
  })
})

describe('CreateToken', () => {
  const token = { name: 'worker', scopes: ['admin'], ttlSeconds: 3600 }

  it('demands a name, a scope and a word about its end', () => {
    expect(CreateToken.safeParse(token).success).toBe(true)
    expect(CreateToken.safeParse({ ...token, ttlSeconds: null }).success).toBe(true)
    const { ttlSeconds: _, ...endless } = token
    const faulty = [
      endless,
      { ...token, name: '' },
      { ...token, name: 'a\nb' },
      { ...token, scopes: [] },
      { ...token, scopes: Array(SCOPES_MAX + 1).fill('admin') },
      { ...token, ttlSeconds: 0 },
      { ...token, ttlSeconds: 315_360_001 },
      { ...token, secret: 'mine' },
    ]
    expect(faulty.filter((value) => CreateToken.safeParse(value).success)).toEqual([])
  })
})
