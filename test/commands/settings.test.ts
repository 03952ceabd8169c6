import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { profilePath, readProfile, writeProfile } from '../../client/profile.ts'
import { guessServer, resolveServer } from '../../client/server-settings.ts'
import { checkVariables, readEnvironment } from '../../client/settings.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-settings-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const read = (variables: Record<string, string>) =>
  readEnvironment({ XDG_CONFIG_HOME: folder, ...variables }, 'linux', '/users/me')

async function resolve(variables: Record<string, string>, flags = {}) {
  return resolveServer(flags, read(variables))
}

describe('readEnvironment()', () => {
  it('follows the XDG folders, and ignores relative ones', () => {
    const given = { XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: 'here' }
    expect(readEnvironment(given, 'linux', '/users/me')).toMatchObject({
      configFolder: '/c/artifact',
      stateFolder: '/users/me/.local/state/artifact',
    })
  })

  it('keeps folders in AppData on Windows', () => {
    const given = { APPDATA: 'R', LOCALAPPDATA: 'L' }
    expect(readEnvironment(given, 'win32', 'home')).toMatchObject({
      configFolder: join('R', 'artifact'),
      stateFolder: join('L', 'artifact'),
    })
  })

  it('takes an empty variable for unset', () => {
    expect(read({ ARTIFACT_URL: '', NO_COLOR: '' })).toMatchObject({
      url: undefined,
      noColor: false,
      artifactVariables: [],
    })
  })

  it('reads proxies in either case', () => {
    expect(read({}).proxy).toBeUndefined()
    expect(read({ HTTPS_PROXY: 'http://p', no_proxy: 'x' }).proxy).toEqual({
      http: undefined,
      https: 'http://p',
      none: 'x',
    })
  })
})

describe('checkVariables()', () => {
  it('refuses an unknown variable and names the nearest known', () => {
    expect(() => checkVariables(read({ ARTIFACT_TOKENFILE: 'x' }))).toThrow(
      expect.objectContaining({
        code: 'configuration',
        message: expect.stringContaining('ARTIFACT_TOKENFILE is not a setting'),
        expected: 'ARTIFACT_TOKEN_FILE',
      }),
    )
  })

  it('takes the variables of the client and those of the server', () => {
    const variables = { ARTIFACT_URL: 'x', ARTIFACT_PORT: '1' }
    expect(() => checkVariables(read(variables), ['ARTIFACT_PORT'])).not.toThrow()
  })
})

describe('resolveServer()', () => {
  it('prefers the flag to the environment, and the environment to the profile', async () => {
    await writeProfile(join(folder, 'artifact'), { url: 'http://profile', token: 'p' })
    expect(await resolve({})).toEqual({ url: 'http://profile', token: 'p' })
    const variables = { ARTIFACT_URL: 'http://environment/', ARTIFACT_TOKEN: 'e' }
    expect(await resolve(variables)).toEqual({ url: 'http://environment', token: 'e' })
    expect(await resolve(variables, { url: 'http://flag' })).toEqual({
      url: 'http://flag',
      token: 'e',
    })
  })

  it('never sends the token of the profile to another server', async () => {
    await writeProfile(join(folder, 'artifact'), { url: 'http://profile', token: 'p' })
    expect(await resolve({}, { url: 'http://profile:81' })).toEqual({
      url: 'http://profile:81',
      token: undefined,
    })
    expect(await resolve({}, { url: 'http://profile/' })).toMatchObject({ token: 'p' })
  })

  it('reads a token from a file, without the end of its line', async () => {
    const file = join(folder, 'token')
    await writeFile(file, 'secret\n')
    const variables = { ARTIFACT_URL: 'http://a', ARTIFACT_TOKEN_FILE: file }
    expect(await resolve(variables)).toMatchObject({ token: 'secret' })
    expect(
      await resolve({ ARTIFACT_TOKEN: 'e' }, { url: 'http://a', tokenFile: file }),
    ).toMatchObject({ token: 'secret' })
  })

  it('refuses two tokens in the environment', async () => {
    const variables = { ARTIFACT_URL: 'http://a', ARTIFACT_TOKEN: 'a', ARTIFACT_TOKEN_FILE: 'b' }
    await expect(resolve(variables)).rejects.toMatchObject({ code: 'configuration' })
  })

  it('keeps a token that is none out of the message', async () => {
    const file = join(folder, 'token')
    await writeFile(file, 'my secret\nand more')
    await expect(resolve({}, { url: 'http://a', tokenFile: file })).rejects.toThrow(
      expect.objectContaining({
        code: 'configuration',
        message: expect.not.stringContaining('my secret'),
      }),
    )
  })

  it.each([
    'localhost:80',
    'ftp://a',
    'http://',
    'http://me:secret@a',
    'http://a/?q=1',
    'nonsense',
  ])('refuses %s as an address', async (url) => {
    const refused = resolve({}, { url })
    await expect(refused).rejects.toMatchObject({ code: 'configuration' })
    await expect(refused).rejects.not.toMatchObject({ found: expect.stringContaining('secret') })
  })

  it('says what to set when there is nothing', async () => {
    await expect(resolve({})).rejects.toMatchObject({
      code: 'configuration',
      expected: expect.stringContaining('ARTIFACT_URL'),
    })
  })
})

describe('guessServer()', () => {
  const guess = (variables: Record<string, string>, ...words: string[]) =>
    guessServer(words, read(variables))?.href

  it('finds what the words will mean before they are parsed', async () => {
    await writeProfile(join(folder, 'artifact'), { url: 'http://profile', token: 'p' })
    const variables = { ARTIFACT_URL: 'https://environment/x/' }
    expect(guess({}, 'a/0')).toBe('http://profile/')
    expect(guess(variables, 'a/0')).toBe('https://environment/x')
    expect(guess(variables, '--url', 'http://flag:81', 'a/0')).toBe('http://flag:81/')
    expect(guess(variables, 'a/0', '--url=http://flag')).toBe('http://flag/')
    expect(guess(variables, 'a/0', '--', '--url=http://command')).toBe('https://environment/x')
  })

  it('guesses nothing from what is no address', async () => {
    expect(guess({}, 'a/0')).toBeUndefined()
    expect(guess({ ARTIFACT_URL: 'ftp://a' }, 'a/0')).toBeUndefined()
    expect(guess({ ARTIFACT_URL: 'http://a' }, 'a/0', '--url')).toBeUndefined()
    await mkdir(join(folder, 'artifact'), { recursive: true })
    await writeFile(profilePath(join(folder, 'artifact')), '{}')
    expect(guess({}, 'a/0')).toBeUndefined()
  })
})

describe('writeProfile()', () => {
  it('keeps the secret from other users of the machine', async () => {
    const config = join(folder, 'artifact')
    const path = await writeProfile(config, { url: 'http://a', token: 't' })
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(config)).mode & 0o777).toBe(0o700)
    expect(readProfile(config)).toEqual({ url: 'http://a', token: 't' })
  })

  it('replaces what was there', async () => {
    await writeProfile(folder, { url: 'http://a', token: 't' })
    await writeProfile(folder, { url: 'http://b', token: 'u' })
    expect(readProfile(folder)).toEqual({ url: 'http://b', token: 'u' })
  })
})

describe('readProfile()', () => {
  it('finds none where none is', async () => {
    expect(readProfile(join(folder, 'none'))).toBeUndefined()
  })

  it.each([
    ['{"url": "http://a", "token": "secret"'],
    ['{"url": "ftp://a", "token": "secret"}'],
    ['{"url": "http:", "token": "secret"}'],
    ['{"token": "secret"}'],
    ['{"url": "http://a", "token": ""}'],
    [`{"url": "http://a", "token": "${'secret'.repeat(1000)}"}`],
    ['null'],
  ])('names the damaged profile %s, but not what is in it', async (text) => {
    await mkdir(folder, { recursive: true })
    await writeFile(profilePath(folder), text)
    expect(() => readProfile(folder)).toThrow(
      expect.objectContaining({
        code: 'configuration',
        message: expect.not.stringContaining('secret'),
      }),
    )
  })
})
