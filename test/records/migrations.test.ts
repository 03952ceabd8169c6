import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, inject, test } from 'vitest'
import { readMigrations } from '../../server/records/migrate.ts'
import { describeMigrations } from './migrations-suite.ts'

describeMigrations(() => inject('postgres'))

describe('readMigrations()', () => {
  test.each([
    ['a gap', ['0001_one.sql', '0003_three.sql']],
    ['a number twice', ['0001_one.sql', '0001_two.sql']],
    ['another shape of name', ['0001-one.sql']],
  ])('refuses %s', async (_, files) => {
    await using folder = await makeFolder(files)
    await expect(readMigrations(folder.url)).rejects.toThrow(
      /Cannot read migrations: expected number/,
    )
  })

  test('gives one checksum whatever the line ends are', async () => {
    await using unix = await makeFolder(['0001_one.sql'], 'select 1;\nselect 2;\n')
    await using windows = await makeFolder(['0001_one.sql'], 'select 1;\r\nselect 2;\r\n')
    expect(await readMigrations(windows.url)).toEqual(await readMigrations(unix.url))
  })
})

async function makeFolder(files: readonly string[], text = 'select 1;\n') {
  const folder = await mkdtemp(join(tmpdir(), 'artifact-sql-'))
  for (const file of files) await writeFile(join(folder, file), text)
  return {
    url: pathToFileURL(`${folder}/`),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}
