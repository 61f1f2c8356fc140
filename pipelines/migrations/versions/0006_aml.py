"""Tables of the AML desk: alerts with evidence, cases, suppressions, replays; and what only SAR officers see.

Everything is append-only. Two roles without login are made once per server: `vigil_investigator` sees alerts blind (not
whether they are above or below the line, nor the score), `vigil_sar_officer` owns the schema `sar`.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

INVESTIGATOR, OFFICER = "vigil_investigator", "vigil_sar_officer"
CUSTOMER = "text NOT NULL CHECK (token ~ '^[0-9a-f]{32}$')"
PACK = "text CHECK (typologies ~ '^[^ ]+ .+ [0-9a-f]{64}$')"
PERSON = r"text NOT NULL CHECK (by ~ '^[^@\s]+@[^@\s]+$' AND by = lower(by))"
GROWING = (
    "alert_run",
    "aml_case",
    "alert",
    "alert_evidence",
    "alert_scheme",
    "alert_held",
    "alert_below",
    "alert_event",
    "case_event",
    "suppression",
    "suppression_revocation",
    "replay",
)


def upgrade() -> None:
    # Pack, version and digest of the typologies that the champion carries; null for a model without.
    op.execute(f"ALTER TABLE vigil.batch ADD COLUMN typologies {PACK}")
    _roles()
    _alerts()
    _cases()
    _desk()
    for table in GROWING:
        _append_only(f"vigil.{table}")
    _views()
    _sar()
    op.execute("ALTER TABLE vigil.completion DROP CONSTRAINT completion_step_check")
    op.execute("""
        ALTER TABLE vigil.completion ADD CONSTRAINT completion_step_check
        CHECK (step IN ('train', 'publish', 'materialise', 'raise_alerts'))""")


def _roles() -> None:
    for role in (INVESTIGATOR, OFFICER):
        op.execute(f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                    CREATE ROLE {role} NOLOGIN;
                END IF;
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role {role} is missing and this login may not create it: let an administrator run '
                        'CREATE ROLE {role} NOLOGIN; GRANT {role} TO % WITH ADMIN OPTION, SET FALSE, INHERIT FALSE; '
                        'then migrate again (docs/aml.md, Who sees what)', current_user;
            END $$""")
    for member in (OFFICER, "current_user"):
        op.execute(f"""
            DO $$ BEGIN
                IF NOT EXISTS (
                    SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
                    WHERE r.rolname = '{INVESTIGATOR}' AND m.set_option
                      AND u.rolname = {"current_user" if member == "current_user" else f"'{member}'"}
                ) THEN
                    GRANT {INVESTIGATOR} TO {member};
                END IF;
            END $$""")


def _alerts() -> None:
    op.execute(f"""
        CREATE TABLE vigil.alert_run (
            run_no         integer PRIMARY KEY,
            model          text NOT NULL,
            business_date  date NOT NULL,
            attempt        integer NOT NULL CHECK (attempt > 0),
            batch_no       bigint NOT NULL REFERENCES vigil.batch,
            lake_version   bigint NOT NULL,
            policy         text NOT NULL,
            policy_version text NOT NULL,
            limits         jsonb NOT NULL,
            limits_digest  text NOT NULL CHECK (limits_digest ~ '^[0-9a-f]{{64}}$'),
            typologies     {PACK},
            line           double precision,
            rows_scored    bigint NOT NULL,
            rows_rejected  bigint NOT NULL,
            raised         integer NOT NULL,
            suppressed     integer NOT NULL,
            carried        integer NOT NULL,
            resting        integer NOT NULL,
            review_items   integer NOT NULL,
            sampled        integer NOT NULL,
            quiet          bigint NOT NULL CHECK (quiet >= 0),
            record         jsonb NOT NULL,
            raised_at      timestamptz NOT NULL DEFAULT now(),
            UNIQUE (model, business_date, attempt),
            CONSTRAINT rows_are_conserved CHECK (
                rows_scored + rows_rejected = raised + suppressed + carried + resting + review_items + sampled + quiet)
        )""")
    op.execute("""
        CREATE TABLE vigil.aml_case (
            case_no       integer PRIMARY KEY,
            model         text NOT NULL,
            run_no        integer NOT NULL REFERENCES vigil.alert_run,
            business_date date NOT NULL
        )""")
    op.execute(f"""
        CREATE TABLE vigil.alert (
            alert_id      text PRIMARY KEY CHECK (alert_id ~ '^[0-9a-f]{{16}}$'),
            run_no        integer NOT NULL REFERENCES vigil.alert_run,
            case_no       integer NOT NULL REFERENCES vigil.aml_case,
            model         text NOT NULL,
            business_date date NOT NULL,
            token         {CUSTOMER},
            kind          text NOT NULL CHECK (kind IN ('above', 'review', 'below')),
            why_now       text NOT NULL,
            rank          bigint,
            probability   double precision,
            review_reason text,
            parts         jsonb NOT NULL,
            typologies    text[] NOT NULL,
            segment       text NOT NULL,
            UNIQUE (run_no, token),
            CHECK (kind <> 'review' OR review_reason IS NOT NULL)
        )""")
    op.execute("CREATE INDEX alert_of_customer ON vigil.alert (model, token, business_date)")
    op.execute("CREATE INDEX alert_of_case ON vigil.alert (case_no)")
    op.execute("""
        CREATE TABLE vigil.alert_evidence (
            alert_id text PRIMARY KEY REFERENCES vigil.alert,
            evidence jsonb NOT NULL,
            digest   text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$')
        )""")
    op.execute("""
        CREATE TABLE vigil.alert_scheme (
            alert_id  text NOT NULL REFERENCES vigil.alert,
            scheme_id text NOT NULL,
            kind      text NOT NULL,
            accounts  text[] NOT NULL,
            first_on  date NOT NULL,
            last_on   date NOT NULL,
            PRIMARY KEY (alert_id, scheme_id)
        )""")
    op.execute(f"""
        CREATE TABLE vigil.alert_held (
            run_no         integer NOT NULL REFERENCES vigil.alert_run,
            token          {CUSTOMER},
            why            text NOT NULL CHECK (why IN ('suppressed', 'open', 'resting')),
            rank           bigint,
            probability    double precision,
            alert_id       text REFERENCES vigil.alert,
            suppression_no bigint,
            PRIMARY KEY (run_no, token)
        )""")
    op.execute(f"""
        CREATE TABLE vigil.alert_below (
            run_no      integer NOT NULL REFERENCES vigil.alert_run,
            stratum     text NOT NULL,
            token       {CUSTOMER},
            probability double precision NOT NULL,
            segment     text NOT NULL,
            drawn       boolean NOT NULL,
            PRIMARY KEY (run_no, stratum, token)
        )""")
    op.execute("""
        CREATE TABLE vigil.alert_event (
            alert_id text NOT NULL REFERENCES vigil.alert,
            run_no   integer NOT NULL REFERENCES vigil.alert_run DEFERRABLE INITIALLY DEFERRED,
            action   text NOT NULL CHECK (action IN ('withdrawn', 'kept')),
            at       timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (alert_id, run_no)
        )""")


def _cases() -> None:
    # The key (case_no, seq) is the lock: of two people who act on what they saw, the second finds the number taken.
    op.execute("""
        CREATE TABLE vigil.case_event (
            case_no  integer NOT NULL REFERENCES vigil.aml_case,
            seq      integer NOT NULL CHECK (seq > 0),
            action   text NOT NULL CHECK (action IN
                         ('opened', 'joined', 'assigned', 'started', 'proposed', 'closed', 'reopened', 'withdrawn')),
            state    text NOT NULL CHECK (state IN ('new', 'assigned', 'in_review', 'closed', 'withdrawn')),
            outcome  text CHECK (outcome IN ('false_positive', 'valuable')),
            assignee text,
            by       text NOT NULL,
            login    text NOT NULL DEFAULT session_user,
            run_no   integer REFERENCES vigil.alert_run,
            note     text NOT NULL DEFAULT '',
            at       timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (case_no, seq),
            CHECK ((action = 'closed') <= (outcome IS NOT NULL)),
            CHECK ((state = 'closed') = (action = 'closed'))
        )""")


def _desk() -> None:
    op.execute(f"""
        CREATE TABLE vigil.suppression (
            suppression_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model          text NOT NULL,
            token          {CUSTOMER},
            typology       text,
            reason         text NOT NULL CHECK (length(reason) >= 10),
            from_date      date NOT NULL,
            until_date     date NOT NULL CHECK (until_date > from_date),
            probability    double precision NOT NULL,
            typologies     text[] NOT NULL,
            by             {PERSON},
            login          text NOT NULL DEFAULT session_user,
            at             timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX suppression_of_customer ON vigil.suppression (model, token)")
    op.execute(f"""
        CREATE TABLE vigil.suppression_revocation (
            suppression_no bigint PRIMARY KEY REFERENCES vigil.suppression,
            reason         text NOT NULL CHECK (reason <> ''),
            from_date      date NOT NULL,
            by             {PERSON},
            login          text NOT NULL DEFAULT session_user,
            at             timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute(f"""
        CREATE TABLE vigil.replay (
            replay_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model         text NOT NULL,
            first_date    date NOT NULL,
            last_date     date NOT NULL,
            before_digest text NOT NULL CHECK (before_digest ~ '^[0-9a-f]{{64}}$'),
            after_digest  text NOT NULL CHECK (after_digest ~ '^[0-9a-f]{{64}}$'),
            change        jsonb NOT NULL,
            result        jsonb NOT NULL,
            by            {PERSON},
            login         text NOT NULL DEFAULT session_user,
            at            timestamptz NOT NULL DEFAULT now()
        )""")


def _append_only(table: str) -> None:
    name = table.partition(".")[2]
    op.execute(f"""
        CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION vigil.refuse_change()""")


def _views() -> None:
    op.execute("""
        CREATE VIEW vigil.case_now AS
        SELECT c.case_no, c.model, c.business_date, e.seq, e.state, e.action, e.assignee, e.by, e.at,
               CASE WHEN e.state = 'closed' THEN e.outcome END AS outcome,
               CASE WHEN e.action = 'proposed' THEN e.outcome END AS proposed
        FROM vigil.aml_case c
        JOIN LATERAL (
            SELECT * FROM vigil.case_event e WHERE e.case_no = c.case_no ORDER BY seq DESC LIMIT 1) e ON true""")
    # What tells above from below the line is left out: kind, score, rank, why the alert came now, and the run.
    op.execute("""
        CREATE VIEW vigil.alert_blind AS
        SELECT a.alert_id, a.case_no, a.model, a.business_date, a.token, a.typologies, a.review_reason, a.segment,
               (SELECT action FROM vigil.alert_event e WHERE e.alert_id = a.alert_id ORDER BY e.run_no DESC LIMIT 1) AS mark,
               v.evidence, v.digest
        FROM vigil.alert a JOIN vigil.alert_evidence v USING (alert_id)""")
    op.execute("""
        CREATE VIEW vigil.case_needs_two AS
        SELECT a.case_no, coalesce(bool_or(
                   a.probability IS NULL OR a.probability >= (r.limits ->> 'second_person_from_score')::double precision
               ), true) AS needs_two
        FROM vigil.alert a JOIN vigil.alert_run r USING (run_no) GROUP BY a.case_no""")
    op.execute("""
        CREATE VIEW vigil.suppression_now AS
        SELECT s.suppression_no, s.model, s.token, s.typology, s.reason, s.from_date, s.until_date, s.typologies, s.by, s.at,
               r.by AS revoked_by, r.from_date AS revoked_from, r.reason AS revoked_because
        FROM vigil.suppression s LEFT JOIN vigil.suppression_revocation r USING (suppression_no)""")
    op.execute(f"""
        GRANT USAGE ON SCHEMA vigil TO {INVESTIGATOR};
        GRANT SELECT ON vigil.case_now, vigil.alert_blind, vigil.case_needs_two, vigil.suppression_now, vigil.case_event,
            vigil.aml_case, vigil.published TO {INVESTIGATOR};
        GRANT INSERT ON vigil.case_event, vigil.suppression, vigil.suppression_revocation TO {INVESTIGATOR};
        GRANT SELECT (suppression_no) ON vigil.suppression TO {INVESTIGATOR}""")


def _sar() -> None:
    """One sealed row of fixed width for every closing, filed or not: counts, sizes and times of the schema say nothing.

    The schema belongs to the officers. A login that migrates without being a superuser joins them only for this.
    """
    op.execute(f"""
        DO $$ BEGIN
            IF NOT pg_has_role(current_user, '{OFFICER}', 'SET') THEN
                GRANT {OFFICER} TO current_user;
                PERFORM set_config('vigil.joined', 'yes', true);
            END IF;
        END $$""")
    op.execute(
        f"GRANT SELECT ON vigil.case_now, vigil.case_event, vigil.alert, vigil.alert_event, vigil.alert_run, "
        f"vigil.alert_below TO {OFFICER}"
    )
    op.execute(f"CREATE SCHEMA sar AUTHORIZATION {OFFICER}")
    op.execute(f"SET LOCAL ROLE {OFFICER}")
    op.execute("""
        CREATE TABLE sar.closing (
            case_no   integer NOT NULL,
            seq       integer NOT NULL,
            filed     boolean NOT NULL,
            reference character(64) NOT NULL,
            PRIMARY KEY (case_no, seq)
        ) WITH (autovacuum_enabled = off)""")
    _append_only("sar.closing")
    op.execute("""
        CREATE VIEW sar.case_now AS
        SELECT c.*, CASE WHEN c.state = 'closed' THEN s.filed END AS filed,
               CASE WHEN c.state = 'closed' AND s.filed THEN rtrim(s.reference) END AS reference
        FROM vigil.case_now c LEFT JOIN sar.closing s USING (case_no, seq)""")
    op.execute(f"""
        ALTER TABLE sar.closing ENABLE ROW LEVEL SECURITY;
        CREATE POLICY sealed ON sar.closing FOR INSERT TO {INVESTIGATOR} WITH CHECK (NOT filed AND reference = '');
        GRANT USAGE ON SCHEMA sar TO {INVESTIGATOR};
        GRANT INSERT ON sar.closing TO {INVESTIGATOR}""")
    op.execute("RESET ROLE")
    op.execute(f"""
        DO $$ BEGIN
            IF current_setting('vigil.joined', true) = 'yes' THEN
                REVOKE {OFFICER} FROM current_user;
            END IF;
        END $$""")
