import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isAllowed,
  isAllowedInAll,
  isAllowedSomewhere,
  matchesGlob,
  type Principal,
  type Verb,
} from '../../server/access/scopes.ts'

const holder = (...scopes: string[]): Principal => ({ token: { id: 'x', name: 'x' }, scopes })

describe('matchesGlob()', () => {
  it.each([
    ['a', 'a', true],
    ['a', 'ab', false],
    ['', '', true],
    ['*', '', true],
    ['*', 'a.txt', true],
    ['*', 'a/b', false],
    ['**', 'a/b/c', true],
    ['**', '', true],
    ['a/*', 'a/b', true],
    ['a/*', 'a/', true],
    ['a/*', 'a/b/c', false],
    ['a/**', 'a/b/c', true],
    ['a/**', 'a', false],
    ['a/**', 'ab/c', false],
    ['*/b', 'a/b', true],
    ['*/b', 'a/a/b', false],
    ['**/b', 'a/a/b', true],
    ['**/b', 'b', false],
    ['a*c', 'abc', true],
    ['a*c', 'ab/c', false],
    ['a**c', 'ab/c', true],
    ['***', 'a/b', true],
    ['a.b', 'axb', false],
    ['[ab]', 'a', false],
    ['[ab]', '[ab]', true],
    ['?', 'a', false],
    ['*', '\u{1f600}', true],
    ['a*', 'A', false],
  ])('%j matches %j: %j', (glob, text, matches) => {
    expect(matchesGlob(glob, text)).toBe(matches)
  })

  it('agrees with a regular expression of the same meaning', () => {
    const letters = fc.constantFrom('a', 'b', '/', '*', '.')
    const words = fc.string({ unit: letters, maxLength: 8 })
    fc.assert(
      fc.property(
        words,
        fc.string({ unit: fc.constantFrom('a', 'b', '/', '.'), maxLength: 8 }),
        (glob, text) => {
          const source = glob.replace(/\*\*|\*|\./g, (token) =>
            token === '**' ? '.*' : token === '*' ? '[^/]*' : '\\.',
          )
          expect(matchesGlob(glob, text)).toBe(new RegExp(`^${source}$`, 's').test(text))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('isAllowed()', () => {
  const table: [string, Verb, string, string, boolean][] = [
    ['admin', 'upload', 'any', 'thing/at/all', true],
    ['upload:nightly/**', 'upload', 'nightly', 'db.dump', true],
    ['upload:nightly/**', 'get', 'nightly', 'db.dump', false],
    ['upload:nightly/**', 'list', 'nightly', 'db.dump', false],
    ['get:nightly/**', 'upload', 'nightly', 'db.dump', false],
    ['get:nightly/**', 'get', 'nightly-2', 'db.dump', false],
    ['get:nightly*/**', 'get', 'nightly-2', 'db.dump', true],
    ['get:*/public/**', 'get', 'any', 'public/a/b', true],
    ['get:*/public/**', 'get', 'any', 'private/a', false],
    ['get:*/public/*', 'get', 'any', 'public/a/b', false],
    ['get:**/a', 'get', 'any', 'a', true],
    ['get:a.b/c', 'get', 'axb', 'c', false],
    ['list:a/b/c', 'list', 'a', 'b/c', true],
    ['list:a/b/c', 'list', 'a', 'b', false],
  ]
  it.each(table)('%s, to %s %s/%s: %j', (scope, verb, task, name, allowed) => {
    expect(isAllowed(holder(scope), verb, task, name)).toBe(allowed)
    expect(isAllowed(holder('get:other/x', scope), verb, task, name)).toBe(allowed)
  })

  it('allows nobody anything', () => {
    expect(isAllowed({ token: undefined, scopes: [] }, 'get', 'a', 'b')).toBe(false)
  })

  it('does not take a scope for admin that only looks like it', () => {
    expect(isAllowed(holder('administrator', 'admin:a/**'), 'get', 'a', 'b')).toBe(false)
  })
})

describe('isAllowedSomewhere()', () => {
  it('knows the tasks in which a scope covers any name', () => {
    const principal = holder('list:nightly-*/logs/**')
    expect(isAllowedSomewhere(principal, 'list', 'nightly-db')).toBe(true)
    expect(isAllowedSomewhere(principal, 'list', 'weekly')).toBe(false)
    expect(isAllowedSomewhere(principal, 'upload', 'nightly-db')).toBe(false)
  })
})

describe('isAllowedInAll()', () => {
  it('knows the tasks of which a scope covers every name', () => {
    const may = (...scopes: string[]) => isAllowedInAll(holder(...scopes), 'upload', 'db')
    expect([may('admin'), may('upload:db/**'), may('get:db/*', 'upload:d*/**')]).not.toContain(
      false,
    )
    const some = ['upload:db/*', 'upload:db/a/**', 'upload:other/**', 'get:db/**', 'upload:db/**a']
    expect(some.filter((scope) => may(scope))).toEqual([])
  })
})
