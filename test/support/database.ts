/**
 * Real Postgres for tests: one cluster per lane, one database per test file.
 *
 * The cluster is the embedded one, or the one that `ARTIFACT_TEST_DATABASE_URL` names, as superuser.
 */
import { inject } from 'vitest'
import type { TestProject } from 'vitest/node'
import {
  type Cluster,
  createDatabase,
  createEmptyDatabase,
  type EmptyDatabase,
  prepareCluster,
  startTestCluster,
  type TestDatabase,
} from './postgres-cluster.ts'

declare module 'vitest' {
  interface ProvidedContext {
    postgres: Cluster
  }
}

/** Runs once before a lane, in the process of vitest. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.ARTIFACT_TEST_DATABASE_URL ?? ''
  const prepared = given === '' ? await startTestCluster() : await prepareCluster(given)
  project.provide('postgres', prepared.cluster)
  return async () => prepared[Symbol.asyncDispose]()
}

/** A migrated database of its own: `await using database = await createTestDatabase()`. */
export async function createTestDatabase(): Promise<TestDatabase> {
  return createDatabase(inject('postgres'))
}

/** A database that nothing was done to. */
export async function createBareDatabase(): Promise<EmptyDatabase> {
  return createEmptyDatabase(inject('postgres').adminUrl)
}
