/** Where time comes from. Tests pass their own. */
export type Clock = () => Date

/** The only place that asks the machine for the time. */
export const systemClock: Clock = () => new Date()
