import { z } from 'zod'
import {
  ArtifactName,
  ByteCount,
  ContentType,
  Instant,
  Labels,
  PartNumber,
  PartSizeBytes,
  RunNumber,
  SealPolicy,
  Sha256,
  TaskName,
} from './primitives.ts'

/** The token that did something. */
export const Actor = z
  .object({ tokenId: z.uuid(), tokenName: z.string() })
  .meta({ id: 'Actor', description: 'The token that did it' })
export type Actor = z.infer<typeof Actor>

/** The sealed fact. Nothing in it ever changes. */
export const Artifact = z
  .object({
    task: TaskName,
    run: RunNumber,
    name: ArtifactName,
    /** `task/run/name`. */
    reference: z.string(),
    /** Of the whole. */
    sha256: Sha256,
    sizeBytes: ByteCount,
    /** Size of every part but the last. */
    partSizeBytes: PartSizeBytes,
    /** 0 for an empty artifact, 1 when the only part is the whole. */
    partCount: z.int().min(0),
    contentType: ContentType,
    labels: Labels,
    policy: SealPolicy,
    uploadId: z.uuid(),
    openedAt: Instant,
    sealedAt: Instant,
    sealedBy: Actor,
  })
  .meta({ id: 'Artifact', description: 'A sealed artifact: the write-once record' })
export type Artifact = z.infer<typeof Artifact>

/** One part of an artifact or of an upload. */
export const Part = z
  .object({ number: PartNumber, sizeBytes: PartSizeBytes, sha256: Sha256 })
  .meta({ id: 'Part' })
export type Part = z.infer<typeof Part>

/** The part digests of a sealed artifact, in order. */
export const ArtifactParts = z
  .object({ reference: z.string(), partSizeBytes: PartSizeBytes, parts: z.array(Part) })
  .meta({ id: 'ArtifactParts' })
export type ArtifactParts = z.infer<typeof ArtifactParts>
