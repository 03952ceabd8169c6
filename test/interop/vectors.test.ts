import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const folder = join(import.meta.dirname, '../vectors')

describe('merkle.jsonl', () => {
  it('is what the generator writes', async () => {
    const { stdout } = await promisify(execFile)('python3', [join(folder, 'generate.py')])
    expect(stdout).toBe(await readFile(join(folder, 'merkle.jsonl'), 'utf8'))
  })
})
