# SPDX-FileCopyrightText: 2026 cim-harness contributors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""METEOR 1.5's word normalisation, paraphrase table and alignment in Python, under LGPL-2.1-or-later.

A package of its own because it re-states METEOR (cmu-mtlab/meteor) and the word lists and substitutions that METEOR
took from Moses' tokenizer, both under the LGPL. Everything else of this project works without it: metric ``meteor`` is
then not computed, and ``meteor@jar`` runs the original jar instead. The licence is in ``COPYING``.
"""
