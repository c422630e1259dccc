-- A catalog made by save 0.1.0 (schema of commit e10d100) with tests/store/samples.py: videos 7, 8, 9 added,
-- 8 forgotten, compacted, 8 added again, 9 forgotten. test_versions.py makes the store of it.
BEGIN TRANSACTION;
CREATE TABLE files (
        path BLOB PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        fingerprint TEXT REFERENCES videos (fingerprint) DEFERRABLE INITIALLY DEFERRED,
        reason TEXT,
        hint TEXT,
        attempts INTEGER NOT NULL DEFAULT 0);
INSERT INTO "files" VALUES(X'2F762F612E6D7034',1000,1,'00000000000000000000000000000007',NULL,NULL,0);
INSERT INTO "files" VALUES(X'2F762F782E6D7034',1,1,NULL,'broken','mend it',1);
INSERT INTO "files" VALUES(X'2F762F622E6D7034',1000,1,'00000000000000000000000000000008',NULL,NULL,0);
CREATE TABLE graphs (
        generation INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        engine TEXT NOT NULL,
        n_rows INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        ef INTEGER NOT NULL);
CREATE TABLE identity (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "identity" VALUES('dim','16');
INSERT INTO "identity" VALUES('model','tiny');
INSERT INTO "identity" VALUES('weights','abc');
CREATE TABLE segments (
        segment_id INTEGER PRIMARY KEY AUTOINCREMENT,
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        seen_start INTEGER NOT NULL,
        n_seen INTEGER NOT NULL,
        frames_start INTEGER NOT NULL,
        n_frames INTEGER NOT NULL,
        said_start INTEGER NOT NULL,
        n_said INTEGER NOT NULL,
        frame_times BLOB NOT NULL, heard_start INTEGER NOT NULL DEFAULT 0, n_heard INTEGER NOT NULL DEFAULT 0, fused_start INTEGER NOT NULL DEFAULT 0, n_fused INTEGER NOT NULL DEFAULT 0, parts_start INTEGER NOT NULL DEFAULT 0, n_parts INTEGER NOT NULL DEFAULT 0);
INSERT INTO "segments" VALUES(1,1,0.0,12.0,0,1,0,3,0,2,X'0000000000000000000000000000F03F0000000000000040',0,1,0,0,0,0);
INSERT INTO "segments" VALUES(2,1,12.0,24.0,1,1,3,2,2,0,X'00000000000028400000000000002A40',1,0,0,1,0,3);
INSERT INTO "segments" VALUES(3,1,24.0,36.0,2,1,5,3,2,2,X'000000000000384000000000000039400000000000003A40',1,0,1,0,3,0);
INSERT INTO "segments" VALUES(7,4,0.0,12.0,4,1,9,2,7,1,X'0000000000000000000000000000F03F',1,0,2,0,6,0);
INSERT INTO "segments" VALUES(8,4,12.0,24.0,5,1,11,3,8,1,X'00000000000028400000000000002A400000000000002C40',1,0,2,1,6,3);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "settings" VALUES('k','10');
CREATE TABLE spans (
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        kind TEXT NOT NULL,
        start INTEGER NOT NULL,
        n_rows INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        PRIMARY KEY (video_key, kind));
INSERT INTO "spans" VALUES(1,'seen',0,3,3526608234);
INSERT INTO "spans" VALUES(1,'frames',0,8,3534888554);
INSERT INTO "spans" VALUES(1,'heard',0,1,1891577175);
INSERT INTO "spans" VALUES(1,'said',0,4,2921415039);
INSERT INTO "spans" VALUES(1,'fused',0,1,2203436850);
INSERT INTO "spans" VALUES(1,'parts',0,3,3711274628);
INSERT INTO "spans" VALUES(4,'seen',4,2,145823436);
INSERT INTO "spans" VALUES(4,'frames',9,5,3308965939);
INSERT INTO "spans" VALUES(4,'heard',1,0,0);
INSERT INTO "spans" VALUES(4,'said',7,2,2098055150);
INSERT INTO "spans" VALUES(4,'fused',2,1,4130692240);
INSERT INTO "spans" VALUES(4,'parts',6,3,1169326808);
CREATE TABLE state (revision INTEGER NOT NULL, dim INTEGER NOT NULL);
INSERT INTO "state" VALUES(11,16);
CREATE TABLE utterances (
        utterance_key INTEGER PRIMARY KEY,
        video_key INTEGER NOT NULL REFERENCES videos ON DELETE CASCADE,
        segment_id INTEGER REFERENCES segments ON DELETE CASCADE,
        start_s REAL NOT NULL,
        end_s REAL NOT NULL,
        text TEXT NOT NULL,
        words TEXT NOT NULL);
INSERT INTO "utterances" VALUES(1,1,1,0.0,2.0,'wörd7 0','[[0.0, 1.0, "w\u00f6rd7"]]');
INSERT INTO "utterances" VALUES(2,1,1,3.0,5.0,'wörd7 1','[[3.0, 4.0, "w\u00f6rd7"]]');
INSERT INTO "utterances" VALUES(3,1,3,24.0,26.0,'wörd7 0','[[24.0, 25.0, "w\u00f6rd7"]]');
INSERT INTO "utterances" VALUES(4,1,3,27.0,29.0,'wörd7 1','[[27.0, 28.0, "w\u00f6rd7"]]');
INSERT INTO "utterances" VALUES(10,4,7,0.0,2.0,'wörd8 0','[[0.0, 1.0, "w\u00f6rd8"]]');
INSERT INTO "utterances" VALUES(11,4,8,12.0,14.0,'wörd8 0','[[12.0, 13.0, "w\u00f6rd8"]]');
CREATE TABLE vectors (kind TEXT PRIMARY KEY, generation INTEGER NOT NULL, n_rows INTEGER NOT NULL);
INSERT INTO "vectors" VALUES('seen',2,6);
INSERT INTO "vectors" VALUES('frames',2,14);
INSERT INTO "vectors" VALUES('said',2,9);
INSERT INTO "vectors" VALUES('heard',2,1);
INSERT INTO "vectors" VALUES('fused',2,3);
INSERT INTO "vectors" VALUES('parts',2,9);
CREATE TABLE videos (
        video_key INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        duration_s REAL NOT NULL,
        has_audio INTEGER NOT NULL,
        has_video INTEGER NOT NULL,
        n_segments INTEGER NOT NULL,
        speech_s REAL NOT NULL,
        language TEXT NOT NULL,
        language_probability REAL NOT NULL,
        asr TEXT NOT NULL,
        notes TEXT NOT NULL,
        partial INTEGER NOT NULL,
        indexed_at REAL NOT NULL);
INSERT INTO "videos" VALUES(1,'00000000000000000000000000000007',36.0,1,1,3,8.0,'de',0.5,'tiny.en','[]',0,1.0);
INSERT INTO "videos" VALUES(4,'00000000000000000000000000000008',24.0,1,1,2,4.0,'de',0.5,'tiny.en','[]',0,1.0);
CREATE INDEX files_fingerprint ON files (fingerprint);
CREATE INDEX spans_start ON spans (kind, start);
CREATE INDEX segments_video ON segments (video_key, start_s);
CREATE INDEX segments_seen ON segments (seen_start) WHERE n_seen > 0;
CREATE INDEX segments_said ON segments (said_start) WHERE n_said > 0;
CREATE INDEX utterances_video ON utterances (video_key);
CREATE INDEX utterances_segment ON utterances (segment_id);
CREATE INDEX segments_heard ON segments (heard_start) WHERE n_heard > 0;
CREATE INDEX segments_fused ON segments (fused_start) WHERE n_fused > 0;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('segments',8);
COMMIT;
