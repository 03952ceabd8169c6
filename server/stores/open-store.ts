/** Store addresses, as an operator writes them: `file:DIR` or `s3://BUCKET/PREFIX`. */
import { fileURLToPath } from 'node:url'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import { type FilesystemStore, openFilesystemStore } from './filesystem.ts'
import { openS3Store, type S3Store, type S3StoreOptions } from './s3.ts'

export type StoreAddress =
  | { kind: 'filesystem'; folder: string }
  | { kind: 's3'; bucket: string; prefix: string }

/** What a store needs besides its address. */
export interface StoreSettings {
  clock: Clock
  /** For the grants of a filesystem store, at least 32 bytes. */
  grantSecret: Uint8Array
  s3: Pick<S3StoreOptions, 'region' | 'endpoint' | 'forcePathStyle' | 'credentials' | 'packs'>
}

/** Told apart by `kind`; only the filesystem store has a door of its own. */
export type AnyStore = FilesystemStore | S3Store

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/
// Only what stands in a URL and a signature as it is.
const PREFIX = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$/

/**
 * Parses a store address. Throws `configuration`.
 *
 *     address = "file:" path / "file://" path / "s3://" bucket ["/" prefix]
 *
 * For example `file:/srv/artifacts` or `s3://backups/artifacts`.
 */
export function parseStoreAddress(text: string): StoreAddress {
  if (text.startsWith('file:')) {
    const folder = text.startsWith('file://') ? parseFileUrl(text) : text.slice('file:'.length)
    if (folder === '' || folder.includes('\0')) throw wrongAddress(text)
    return { kind: 'filesystem', folder }
  }
  if (!text.startsWith('s3://')) throw wrongAddress(text)
  const [bucket = '', ...rest] = text.slice('s3://'.length).replace(/\/$/, '').split('/')
  const prefix = rest.join('/')
  if (!BUCKET.test(bucket) || !PREFIX.test(prefix) || prefix.length > 200) throw wrongAddress(text)
  return { kind: 's3', bucket, prefix }
}

/** The inverse of {@link parseStoreAddress}: what the record keeps of where bytes lie. */
export function formatStoreAddress(address: StoreAddress): string {
  if (address.kind === 'filesystem') return `file:${address.folder}`
  return `s3://${address.bucket}${address.prefix === '' ? '' : `/${address.prefix}`}`
}

/** Opens the store at an address; an S3 store is probed first. Throws as the two openers do. */
export async function openStore(address: StoreAddress, settings: StoreSettings): Promise<AnyStore> {
  const { clock, grantSecret, s3 } = settings
  return address.kind === 'filesystem'
    ? openFilesystemStore({ folder: address.folder, grantSecret, clock })
    : openS3Store({ ...s3, bucket: address.bucket, prefix: address.prefix, clock })
}

function parseFileUrl(text: string): string {
  try {
    return fileURLToPath(text)
  } catch (cause) {
    throw wrongAddress(text, cause)
  }
}

function wrongAddress(text: string, cause?: unknown): ArtifactError {
  return new ArtifactError('configuration', 'Cannot use the store address: it is not one', {
    expected: 'file:DIR or s3://BUCKET/PREFIX',
    found: text.slice(0, 200),
    cause,
  })
}
