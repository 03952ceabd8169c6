/** What artifacts lie in, and lists of it: tasks, and the runs of a task. */
import { z } from 'zod'
import { Artifact } from './artifact.ts'
import { page } from './pages.ts'
import { Instant, RunNumber, TaskName } from './primitives.ts'

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
