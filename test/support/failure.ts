/** What a call throws. */
import { expect } from 'vitest'

/** The error that `act` throws; fails when it throws none. */
export function failure(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

/** Expects `act` to throw an `ArtifactError` with this code. */
export function expectError(act: () => unknown, code: string): void {
  expect(failure(act)).toMatchObject({ code })
}
