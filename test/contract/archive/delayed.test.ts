import { delayed } from "../../support/delayed-archive.js";
import { archiveContract } from "./contract.ts";
import { SqliteArchive } from "./sqlite.ts";

let seed = 1;

archiveContract(
  "the archive in SQLite with late starts and answers that overtake each other",
  async () =>
    new SqliteArchive({
      writer: (writer) => delayed(writer, seed++),
      questions: (reader) => delayed(reader, seed++),
    }),
);
