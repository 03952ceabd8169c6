import { z } from 'zod'
import { page } from './pages.ts'
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

/** A run that has been allotted or written to. */
export const Run = z
  .object({ task: TaskName, run: RunNumber, openedAt: Instant })
  .meta({ id: 'Run' })
export type Run = z.infer<typeof Run>

export const Task = z.object({ task: TaskName, openedAt: Instant }).meta({ id: 'Task' })
export type Task = z.infer<typeof Task>

/** Allotting a run twice with one `requestId` gives one run. */
export const AllotRun = z.strictObject({ requestId: z.uuid() }).meta({ id: 'AllotRun' })
export type AllotRun = z.infer<typeof AllotRun>

export const TaskPage = page('TaskPage', Task)
export type TaskPage = z.infer<typeof TaskPage>

export const RunPage = page('RunPage', Run)
export type RunPage = z.infer<typeof RunPage>

export const ArtifactPage = page('ArtifactPage', Artifact)
export type ArtifactPage = z.infer<typeof ArtifactPage>
