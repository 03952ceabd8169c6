/**
 * Every statement we can think of by which the runtime role might change the record, or make it
 * possible to. `$ADMIN` stands for the superuser's name, `$DATABASE` for the database.
 */

export interface Attack {
  area: string
  /** Run one after the other on one connection; the last one must be refused, those before are set-up. */
  statements: readonly string[]
  /** SQLSTATE of the refusal: 42501 is insufficient_privilege. */
  state: string
}

/** insufficient_privilege */
export const DENIED = '42501'

export const attack = (area: string, state: string, ...statements: string[]): Attack => ({
  area,
  statements,
  state,
})
/** Each statement is an attack of its own, and is denied. */
export const denied = (area: string, ...statements: string[]): Attack[] =>
  statements.map((statement) => attack(area, DENIED, statement))

export const ARTIFACT = 'artifact.artifact'
/** A digest that is nobody's. */
export const DIGEST = `sha256('another'::bytea)`
