/** What a JSON schema means to a form: the controls, the values, the rules. Pure. */

export * from "./schemaRules";
export * from "./schemaShape";
export * from "./schemaValues";
