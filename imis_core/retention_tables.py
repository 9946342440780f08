"""Functions through which the application forgets rows of insert-only tables, and no others: it may not delete them.

Each refuses what is younger than a floor of its own, so that whoever has the application's login cannot wipe out fresh
traces. That floor alone follows the server's clock; what is forgotten when is the caller's business (`retention`).
"""

from __future__ import annotations

from typing import Final

from imis_core.database.tables import metadata

LOOKUPS_FLOOR_DAYS: Final = 30
EVENTS_FLOOR_DAYS: Final = 7
# Outcomes of what providers told of which nothing was read (SQL): the same once more is no repetition, its words stay.
NOT_READ: Final = "'failed', 'no_service', 'unreadable'"
_CHECK: Final = """
    IF before > clock_timestamp() - interval '{days} days' THEN
        RAISE EXCEPTION '{what} of the last {days} days are kept' USING ERRCODE = 'insufficient_privilege';
    END IF;"""
_FUNCTION: Final = """
CREATE FUNCTION core.{name}(before timestamptz, most integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE gone bigint; chosen bigint[];
BEGIN{check}
{body}
    RETURN gone;
END $$;
"""
_LOOKUPS: Final = """
    DELETE FROM core.lookups WHERE id IN (SELECT id FROM core.lookups WHERE at < before ORDER BY at LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;"""
# An event goes with its deliveries, when none of them waits or is parked.
_EVENTS: Final = """
    SELECT array_agg(o.id) INTO chosen FROM (
        SELECT e.id FROM core.events e WHERE e.at < before AND NOT EXISTS (
            SELECT FROM core.deliveries d WHERE d.event = e.id AND d.state <> 'done') ORDER BY e.id LIMIT most) o;
    DELETE FROM core.deliveries WHERE event = ANY (chosen);
    DELETE FROM core.events WHERE id = ANY (chosen);
    GET DIAGNOSTICS gone = ROW_COUNT;"""
# Whom and when stays, what was written goes; a message that still waits is kept.
_NOTIFICATIONS: Final = """
    UPDATE core.notifications n SET text = '', subject = NULL, "to" = CASE WHEN n."to" IS NULL THEN NULL ELSE '' END
    WHERE n.id IN (
        SELECT o.id FROM core.notifications o JOIN core.notification_current c ON c.notification = o.id
        WHERE o.queued_at < before AND o.text <> '' AND c.state <> 'queued' ORDER BY o.id LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;"""

# Which message it was (nonce, digest), when it came and what became of it stay: replays and repetitions are known by
# them for ever. One that nobody has read yet, or that could not be, is kept.
_PROVIDER_MESSAGES: Final = f"""
    UPDATE core.provider_messages m SET body = ''
    WHERE m.id IN (
        SELECT o.id FROM core.provider_messages o
        WHERE o.received_at < before AND o.body <> ''
          AND EXISTS (SELECT FROM core.provider_message_outcomes r WHERE r.message = o.id
                        AND r.outcome NOT IN ({NOT_READ}))
        ORDER BY o.received_at LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;"""

for _name, _what, _days, _body in (
    ("forget_lookups", "look-ups", LOOKUPS_FLOOR_DAYS, _LOOKUPS),
    ("forget_events", "events", EVENTS_FLOOR_DAYS, _EVENTS),
    ("forget_notification_texts", "messages", EVENTS_FLOOR_DAYS, _NOTIFICATIONS),
    ("forget_provider_messages", "messages", EVENTS_FLOOR_DAYS, _PROVIDER_MESSAGES),
):
    metadata.info.setdefault("functions", []).append(
        _FUNCTION.format(name=_name, body=_body.lstrip("\n"), check=_CHECK.format(what=_what, days=_days))
    )
