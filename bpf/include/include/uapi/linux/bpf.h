/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* bcc has put its own copy of this header in front already. */
