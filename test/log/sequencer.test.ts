import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import { createFrontier } from '../../client/verify/frontier.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { createSequencer } from '../../server/log/sequencer.ts'
import { readHead, readLeaves } from '../../server/records/log.ts'
import { openOutbox } from '../../server/records/outbox.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { sealName } from '../support/sealing.ts'

const PROGRAM = join(import.meta.dirname, '..', 'support', 'sequencer-process.ts')

/** The world after whatever happened: one unbroken chain, one leaf for each record, one root. */
async function checkWorld({ server }: TestDatabase): Promise<string[]> {
  const head = await readHead(server)
  const leaves = await readLeaves(server, 0, 100_000)
  expect(leaves.map(({ idx }) => idx)).toEqual(leaves.map((_, index) => index))
  expect(leaves).toHaveLength(head.size)
  const frontier = createFrontier()
  for (const { leaf } of leaves) frontier.append(hashLeaf(leaf))
  expect(Buffer.from(frontier.root()).equals(head.root)).toBe(true)
  const [broken] = await server`
    select count(*)::int as count from artifact.log_tree tree
    where size > 0 and not exists (select from artifact.log_tree before where before.size = tree.prev_size)`
  expect(broken).toEqual({ count: 0 })
  const [bare] = await server`
    select count(*)::int as count from artifact.artifact
    where not exists (select from artifact.log_leaf leaf
      where leaf.task = artifact.task and leaf.run = artifact.run and leaf.name = artifact.name)`
  expect(bare).toEqual({ count: 0 })
  return leaves.map(({ name }) => name)
}

describe('createSequencer()', () => {
  test('seals many at once in one chain', async () => {
    await using database = await createTestDatabase()
    await using outbox = openOutbox(database.server, (error) => expect.unreachable(String(error)))
    const sequencer = createSequencer(outbox, () => new Date())
    const names = Array.from({ length: 300 }, (_, index) => `n${index}`)
    await Promise.all(names.map((name) => sealName(database.server, sequencer, name)))
    expect((await checkWorld(database)).sort()).toEqual(names.sort())
  })

  test('gives one record to all who seal the same content, and refuses other content', async () => {
    await using database = await createTestDatabase()
    await using outbox = openOutbox(database.server, (error) => expect.unreachable(String(error)))
    const sequencer = createSequencer(outbox, () => new Date())
    const contents = ['x', 'x', 'y', 'x']
    const outcomes = await Promise.allSettled(
      contents.map((content) => sealName(database.server, sequencer, 'same', content)),
    )
    const sealed = outcomes.filter(({ status }) => status === 'fulfilled')
    expect(sealed.length === 3 || sealed.length === 1).toBe(true)
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason.code).toBe('already_sealed')
    expect(await checkWorld(database)).toEqual(['same'])
  })

  test('keeps the chain whole with twenty processes and kill -9', async () => {
    await using database = await createTestDatabase()
    const said = new Set<string>()
    const runs = Array.from({ length: 20 }, async (_, index) => {
      const child = spawn(process.execPath, [PROGRAM, database.serverUrl, `p${index}`, '12'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = once(child, 'close')
      for await (const name of createInterface(child.stdout)) {
        said.add(name)
        // Every third one dies in the middle of what it does.
        if (index % 3 === 0 && name.endsWith('-6')) child.kill('SIGKILL')
      }
      await ended
    })
    await Promise.all(runs)
    const names = await checkWorld(database)
    expect(new Set(names).size).toBe(names.length)
    for (const name of said) expect(names).toContain(name)
    expect(said.size).toBeGreaterThan(13 * 12)
  }, 180_000)

  test('refuses a second batch after the same tree', async () => {
    await using database = await createTestDatabase()
    await using outbox = openOutbox(database.server, (error) => expect.unreachable(String(error)))
    const sequencer = createSequencer(outbox, () => new Date())
    await sealName(database.server, sequencer, 'a')
    await sealName(database.server, sequencer, 'b')
    await expect(
      database.server`
        insert into artifact.log_tree (size, prev_size, root, frontier, last_idx)
        values (3, 1, sha256('x'), sha256('x'), 1)`,
    ).rejects.toMatchObject({ code: expect.stringMatching(/^23/) })
  })
})
