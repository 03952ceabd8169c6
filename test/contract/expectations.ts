/** What the contract suite expects of a store, in its own words. */
import { expect } from 'vitest'
import { ArtifactError, type ProblemCode } from '../../schemas/problems.ts'
import type { BlobSession } from '../../server/stores/store.ts'
import { isRefused, type Reply, readAll, type Subject } from './subject.ts'

/** The subject, once it is open. */
export type Get = () => Subject

/** The numbers of the parts held. */
export async function heldBy({ store }: Subject, session: BlobSession): Promise<number[]> {
  return (await store.listParts(session)).map(({ number }) => number)
}

/** That the store gives back exactly these bytes. */
export async function expectContent({ store }: Subject, key: string, bytes: Buffer): Promise<void> {
  const blob = await store.stat(key)
  expect(blob?.sizeBytes).toBe(BigInt(bytes.length))
  const found = await readAll(store.read(key, blob?.tag ?? ''))
  expect(found.equals(bytes)).toBe(true)
}

/** That the store refused, with whatever words. */
export function expectRefused(reply: Reply): void {
  expect(isRefused(reply), `status ${reply.status}: ${reply.body}`).toBe(true)
}

/** That it fails with this code. */
export async function expectProblem(action: Promise<unknown>, code: ProblemCode): Promise<void> {
  await expect(action).rejects.toSatisfy(
    (error) => error instanceof ArtifactError && error.code === code,
    `an ArtifactError with code ${code}`,
  )
}
