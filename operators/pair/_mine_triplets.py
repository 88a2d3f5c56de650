"""The query that mines triplets of images: a fixed number of tries for each relation, so it always ends."""

ATTEMPTS = 8

MINE = f"""
WITH relations AS (
    SELECT key, unnest(subjects) AS subject, unnest(links) AS link, unnest(objects) AS object, unnest(words) AS words
    FROM sketches
),
usable AS (
    SELECT * FROM relations SEMI JOIN (
        SELECT subject FROM relations GROUP BY subject
        HAVING count(DISTINCT key) >= {{min_images}} AND count(DISTINCT object) >= {{min_objects}}
    ) USING (subject)
),
-- Images of a subject stand in a row, those of one object side by side: to pick among all others is to step over those.
by_subject AS (
    SELECT *, row_number() OVER (PARTITION BY subject ORDER BY object, key) - 1 AS place,
        count(*) OVER (PARTITION BY subject) AS images,
        rank() OVER (PARTITION BY subject ORDER BY object) - 1 AS start,
        count(*) OVER (PARTITION BY subject, object) AS own
    FROM usable
),
by_object AS (
    SELECT key, subject, object, row_number() OVER (PARTITION BY object ORDER BY subject, key) - 1 AS place,
        count(*) OVER (PARTITION BY object) AS images,
        rank() OVER (PARTITION BY object ORDER BY subject) - 1 AS start,
        count(*) OVER (PARTITION BY object, subject) AS own
    FROM relations
),
tries AS (
    SELECT *, (words[2 * attempt + 1]::BIGINT * (images - own)) >> 32 AS pick, words[2 * attempt + 2] AS word
    FROM by_subject CROSS JOIN (SELECT unnest(range({ATTEMPTS})) AS attempt) WHERE images > own
),
targets AS (
    SELECT tries.key, tries.subject, tries.object, attempt, tries.words, target.key AS target, target.link AS link,
        target.object AS other, (word::BIGINT * (place.images - place.own)) >> 32 AS pick, place.start, place.own
    FROM tries
    JOIN by_subject target ON target.subject = tries.subject
        AND target.place = tries.pick + CASE WHEN tries.pick >= tries.start THEN tries.own ELSE 0 END
    JOIN by_object place ON place.key = target.key AND place.subject = target.subject AND place.object = target.object
    WHERE target.key <> tries.key AND place.images > place.own
),
-- An image shows several things: the target must lack the reference's object, the reference the target's, and the
-- distractor the subject.
fitting AS (
    SELECT targets.*, distractor.key AS distractor
    FROM targets
    JOIN by_object distractor ON distractor.object = targets.other
        AND distractor.place = targets.pick + CASE WHEN targets.pick >= targets.start THEN targets.own ELSE 0 END
    ANTI JOIN relations a ON a.key = targets.target AND a.subject = targets.subject AND a.object = targets.object
    ANTI JOIN relations b ON b.key = targets.key AND b.object = targets.other
    ANTI JOIN relations c ON c.key = distractor.key AND c.subject = targets.subject
),
first_try AS (
    SELECT * FROM fitting QUALIFY row_number() OVER (PARTITION BY key, subject, object ORDER BY attempt) = 1
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY key ORDER BY words, subject, object) AS rank FROM first_try
),
mined AS (
    SELECT key, list(subject ORDER BY rank) AS triplet_subjects,
        list(link || ' ' || other ORDER BY rank) AS triplet_conditions,
        list(target ORDER BY rank) AS triplet_targets, list(distractor ORDER BY rank) AS triplet_distractors
    FROM ranked WHERE rank <= {{most_per_image}} GROUP BY key
)
SELECT shard, row, NULL::VARCHAR AS reason, NULL::DOUBLE AS score,
    triplet_subjects, triplet_conditions, triplet_targets, triplet_distractors
FROM sketches LEFT JOIN mined USING (key)
"""
