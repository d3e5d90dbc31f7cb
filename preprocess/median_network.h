/* preprocess/median_network.h - written by preprocess/median_network.py; do not edit.
 *
 * The medians of 31 values at 16 neighbouring places for one column, 518
 * minima and maxima (32.4 a median). in: 46 rows, `stride` apart; out: 16 rows, `out_stride` apart.
 * Non-negative floats are compared as the integers of their bits, which have the same order: exact,
 * and a vector instruction everywhere. One function of straight-line code, as it is
 * generated: nobody reads or edits it.
 */
/* clang-format off */
#ifndef COC_PREPROCESS_MEDIAN_NETWORK_H
#define COC_PREPROCESS_MEDIAN_NETWORK_H

#include <stdint.h>

/* How the functions are declared; a file that says so before includes this one for a GPU. */
#ifndef COC_MEDIAN_FUNCTION
#define COC_MEDIAN_FUNCTION static inline __attribute__((always_inline))
#endif

typedef int32_t __attribute__((may_alias)) coc_float_bits;

enum { COC_MEDIAN_WINDOWS = 16, COC_MEDIAN_ROWS = 46 };

COC_MEDIAN_FUNCTION int32_t coc_min_bits(int32_t a, int32_t b) { return a < b ? a : b; }
COC_MEDIAN_FUNCTION int32_t coc_max_bits(int32_t a, int32_t b) { return a > b ? a : b; }
#define N(a, b) coc_min_bits(a, b)
#define X(a, b) coc_max_bits(a, b)

COC_MEDIAN_FUNCTION void /* NOLINTNEXTLINE(readability-function-size) */
coc_median_network(const coc_float_bits *__restrict__ in, int64_t stride,
                   coc_float_bits *__restrict__ out, int64_t out_stride)
{
    const int32_t r15 = in[15 * stride]; const int32_t r16 = in[16 * stride];
    const int32_t v0 = N(r15, r16); const int32_t v1 = X(r15, r16);
    const int32_t r17 = in[17 * stride]; const int32_t r18 = in[18 * stride];
    const int32_t v2 = N(r17, r18); const int32_t v3 = X(r17, r18);
    const int32_t v4 = N(v0, v2); const int32_t v5 = X(v0, v2); const int32_t v6 = N(v1, v3);
    const int32_t v7 = X(v1, v3); const int32_t v8 = N(v5, v6); const int32_t v9 = X(v5, v6);
    const int32_t r19 = in[19 * stride]; const int32_t r20 = in[20 * stride];
    const int32_t v10 = N(r19, r20); const int32_t v11 = X(r19, r20);
    const int32_t r21 = in[21 * stride]; const int32_t r22 = in[22 * stride];
    const int32_t v12 = N(r21, r22); const int32_t v13 = X(r21, r22);
    const int32_t v14 = N(v10, v12); const int32_t v15 = X(v10, v12);
    const int32_t v16 = N(v11, v13); const int32_t v17 = X(v11, v13);
    const int32_t v18 = N(v15, v16); const int32_t v19 = X(v15, v16);
    const int32_t v20 = N(v14, v4); const int32_t v21 = X(v14, v4);
    const int32_t v22 = N(v19, v9); const int32_t v23 = X(v19, v9);
    const int32_t v24 = N(v21, v22); const int32_t v25 = X(v21, v22);
    const int32_t v26 = N(v18, v8); const int32_t v27 = X(v18, v8);
    const int32_t v28 = N(v17, v7); const int32_t v29 = X(v17, v7);
    const int32_t v30 = N(v27, v28); const int32_t v31 = X(v27, v28);
    const int32_t v32 = N(v24, v26); const int32_t v33 = X(v24, v26);
    const int32_t v34 = N(v25, v30); const int32_t v35 = X(v25, v30);
    const int32_t v36 = N(v23, v31); const int32_t v37 = X(v23, v31);
    const int32_t r23 = in[23 * stride]; const int32_t r24 = in[24 * stride];
    const int32_t v38 = N(r23, r24); const int32_t v39 = X(r23, r24);
    const int32_t r25 = in[25 * stride]; const int32_t r26 = in[26 * stride];
    const int32_t v40 = N(r25, r26); const int32_t v41 = X(r25, r26);
    const int32_t v42 = N(v38, v40); const int32_t v43 = X(v38, v40);
    const int32_t v44 = N(v39, v41); const int32_t v45 = X(v39, v41);
    const int32_t v46 = N(v43, v44); const int32_t v47 = X(v43, v44);
    const int32_t r27 = in[27 * stride]; const int32_t r28 = in[28 * stride];
    const int32_t v48 = N(r27, r28); const int32_t v49 = X(r27, r28);
    const int32_t r29 = in[29 * stride]; const int32_t r30 = in[30 * stride];
    const int32_t v50 = N(r29, r30); const int32_t v51 = X(r29, r30);
    const int32_t v52 = N(v48, v50); const int32_t v53 = X(v48, v50);
    const int32_t v54 = N(v49, v51); const int32_t v55 = X(v49, v51);
    const int32_t v56 = N(v53, v54); const int32_t v57 = X(v53, v54);
    const int32_t v58 = N(v42, v52); const int32_t v59 = X(v42, v52);
    const int32_t v60 = N(v47, v57); const int32_t v61 = X(v47, v57);
    const int32_t v62 = N(v59, v60); const int32_t v63 = X(v59, v60);
    const int32_t v64 = N(v46, v56); const int32_t v65 = X(v46, v56);
    const int32_t v66 = N(v45, v55); const int32_t v67 = X(v45, v55);
    const int32_t v68 = N(v65, v66); const int32_t v69 = X(v65, v66);
    const int32_t v70 = N(v62, v64); const int32_t v71 = X(v62, v64);
    const int32_t v72 = N(v63, v68); const int32_t v73 = X(v63, v68);
    const int32_t v74 = N(v61, v69); const int32_t v75 = X(v61, v69);
    const int32_t v76 = N(v20, v58); const int32_t v77 = X(v20, v58);
    const int32_t v78 = N(v35, v73); const int32_t v79 = X(v35, v73);
    const int32_t v80 = N(v77, v78); const int32_t v81 = X(v77, v78);
    const int32_t v82 = N(v33, v71); const int32_t v83 = X(v33, v71);
    const int32_t v84 = N(v37, v75); const int32_t v85 = X(v37, v75);
    const int32_t v86 = N(v83, v84); const int32_t v87 = X(v83, v84);
    const int32_t v88 = N(v80, v82); const int32_t v89 = X(v80, v82);
    const int32_t v90 = N(v81, v86); const int32_t v91 = X(v81, v86);
    const int32_t v92 = N(v79, v87); const int32_t v93 = X(v79, v87);
    const int32_t v94 = N(v32, v70); const int32_t v95 = X(v32, v70);
    const int32_t v96 = N(v36, v74); const int32_t v97 = X(v36, v74);
    const int32_t v98 = N(v95, v96); const int32_t v99 = X(v95, v96);
    const int32_t v100 = N(v34, v72); const int32_t v101 = X(v34, v72);
    const int32_t v102 = N(v29, v67); const int32_t v103 = X(v29, v67);
    const int32_t v104 = N(v101, v102); const int32_t v105 = X(v101, v102);
    const int32_t v106 = N(v100, v98); const int32_t v107 = X(v100, v98);
    const int32_t v108 = N(v104, v99); const int32_t v109 = X(v104, v99);
    const int32_t v110 = N(v105, v97); const int32_t v111 = X(v105, v97);
    const int32_t v112 = N(v88, v94); const int32_t v113 = X(v88, v94);
    const int32_t v114 = N(v106, v89); const int32_t v115 = X(v106, v89);
    const int32_t v116 = N(v107, v90); const int32_t v117 = X(v107, v90);
    const int32_t v118 = N(v108, v91); const int32_t v119 = X(v108, v91);
    const int32_t v120 = N(v109, v92); const int32_t v121 = X(v109, v92);
    const int32_t v122 = N(v110, v93); const int32_t v123 = X(v110, v93);
    const int32_t v124 = N(v111, v85); const int32_t v125 = X(v111, v85);
    const int32_t r7 = in[7 * stride]; const int32_t r8 = in[8 * stride];
    const int32_t v126 = N(r7, r8); const int32_t v127 = X(r7, r8);
    const int32_t r10 = in[10 * stride]; const int32_t r9 = in[9 * stride];
    const int32_t v128 = N(r10, r9); const int32_t v129 = X(r10, r9);
    const int32_t v130 = N(v126, v128); const int32_t v131 = X(v126, v128);
    const int32_t v132 = N(v127, v129); const int32_t v133 = X(v127, v129);
    const int32_t v134 = N(v131, v132); const int32_t v135 = X(v131, v132);
    const int32_t r11 = in[11 * stride]; const int32_t r12 = in[12 * stride];
    const int32_t v136 = N(r11, r12); const int32_t v137 = X(r11, r12);
    const int32_t r13 = in[13 * stride]; const int32_t r14 = in[14 * stride];
    const int32_t v138 = N(r13, r14); const int32_t v139 = X(r13, r14);
    const int32_t v140 = N(v136, v138); const int32_t v141 = X(v136, v138);
    const int32_t v142 = N(v137, v139); const int32_t v143 = X(v137, v139);
    const int32_t v144 = N(v141, v142); const int32_t v145 = X(v141, v142);
    const int32_t v146 = N(v130, v140); const int32_t v147 = X(v130, v140);
    const int32_t v148 = N(v135, v145); const int32_t v149 = X(v135, v145);
    const int32_t v150 = N(v147, v148); const int32_t v151 = X(v147, v148);
    const int32_t v152 = N(v134, v144); const int32_t v153 = X(v134, v144);
    const int32_t v154 = N(v133, v143); const int32_t v155 = X(v133, v143);
    const int32_t v156 = N(v153, v154); const int32_t v157 = X(v153, v154);
    const int32_t v158 = N(v150, v152); const int32_t v159 = X(v150, v152);
    const int32_t v160 = N(v151, v156); const int32_t v161 = X(v151, v156);
    const int32_t v162 = N(v149, v157); const int32_t v163 = X(v149, v157);
    const int32_t v165 = X(v146, v76); const int32_t v166 = N(v119, v165);
    const int32_t v167 = X(v119, v165); const int32_t v168 = N(v115, v161);
    const int32_t v169 = X(v115, v161); const int32_t v170 = N(v123, v169);
    const int32_t v173 = X(v166, v168); const int32_t v174 = N(v167, v170);
    const int32_t v175 = X(v167, v170); const int32_t v177 = X(v113, v159);
    const int32_t v178 = N(v121, v177); const int32_t v179 = X(v121, v177);
    const int32_t v180 = N(v117, v163); const int32_t v181 = X(v117, v163);
    const int32_t v182 = N(v125, v181); const int32_t v184 = N(v178, v180);
    const int32_t v185 = X(v178, v180); const int32_t v186 = N(v179, v182);
    const int32_t v191 = X(v173, v184); const int32_t v192 = N(v174, v185);
    const int32_t v193 = X(v174, v185); const int32_t v194 = N(v175, v186);
    const int32_t v195 = X(v175, v186); const int32_t v199 = X(v112, v158);
    const int32_t v200 = N(v120, v199); const int32_t v201 = X(v120, v199);
    const int32_t v202 = N(v116, v162); const int32_t v203 = X(v116, v162);
    const int32_t v204 = N(v124, v203); const int32_t v207 = X(v200, v202);
    const int32_t v208 = N(v201, v204); const int32_t v209 = X(v201, v204);
    const int32_t v211 = X(v114, v160); const int32_t v212 = N(v122, v211);
    const int32_t v213 = X(v122, v211); const int32_t v214 = N(v118, v155);
    const int32_t v215 = X(v118, v155); const int32_t v216 = N(v103, v215);
    const int32_t v218 = N(v212, v214); const int32_t v219 = X(v212, v214);
    const int32_t v220 = N(v213, v216); const int32_t v224 = N(v207, v218);
    const int32_t v225 = X(v207, v218); const int32_t v226 = N(v208, v219);
    const int32_t v227 = X(v208, v219); const int32_t v228 = N(v209, v220);
    const int32_t v239 = X(v191, v224); const int32_t v240 = N(v192, v225);
    const int32_t v241 = X(v192, v225); const int32_t v242 = N(v193, v226);
    const int32_t v243 = X(v193, v226); const int32_t v244 = N(v194, v227);
    const int32_t v245 = X(v194, v227); const int32_t v246 = N(v195, v228);
    const int32_t r3 = in[3 * stride]; const int32_t r4 = in[4 * stride];
    const int32_t v254 = N(r3, r4); const int32_t v255 = X(r3, r4);
    const int32_t r5 = in[5 * stride]; const int32_t r6 = in[6 * stride];
    const int32_t v256 = N(r5, r6); const int32_t v257 = X(r5, r6);
    const int32_t v258 = N(v254, v256); const int32_t v259 = X(v254, v256);
    const int32_t v260 = N(v255, v257); const int32_t v261 = X(v255, v257);
    const int32_t v262 = N(v259, v260); const int32_t v263 = X(v259, v260);
    const int32_t v265 = X(v239, v258); const int32_t v266 = N(v243, v265);
    const int32_t v267 = X(v243, v265); const int32_t v268 = N(v241, v263);
    const int32_t v269 = X(v241, v263); const int32_t v270 = N(v245, v269);
    const int32_t v273 = X(v266, v268); const int32_t v274 = N(v267, v270);
    const int32_t v275 = X(v267, v270); const int32_t v277 = X(v240, v262);
    const int32_t v278 = N(v244, v277); const int32_t v279 = X(v244, v277);
    const int32_t v280 = N(v242, v261); const int32_t v281 = X(v242, v261);
    const int32_t v282 = N(v246, v281); const int32_t v284 = N(v278, v280);
    const int32_t v285 = X(v278, v280); const int32_t v286 = N(v279, v282);
    const int32_t v291 = X(v273, v284); const int32_t v292 = N(v274, v285);
    const int32_t v293 = X(v274, v285); const int32_t v294 = N(v275, v286);
    const int32_t r1 = in[1 * stride]; const int32_t r2 = in[2 * stride];
    const int32_t v298 = N(r1, r2); const int32_t v299 = X(r1, r2);
    const int32_t v301 = X(v291, v298); const int32_t v302 = N(v293, v301);
    const int32_t v303 = X(v293, v301); const int32_t v304 = N(v292, v299);
    const int32_t v305 = X(v292, v299); const int32_t v306 = N(v294, v305);
    const int32_t v309 = X(v302, v304); const int32_t v310 = N(v303, v306);
    const int32_t r0 = in[0 * stride]; const int32_t v313 = X(r0, v309);
    const int32_t v314 = N(v310, v313); out[0 * out_stride] = v314;
    const int32_t r31 = in[31 * stride]; const int32_t v317 = X(r31, v309);
    const int32_t v318 = N(v310, v317); out[1 * out_stride] = v318;
    const int32_t r32 = in[32 * stride]; const int32_t v320 = N(r31, r32);
    const int32_t v321 = X(r31, r32); const int32_t v323 = X(v291, v320);
    const int32_t v324 = N(v293, v323); const int32_t v325 = X(v293, v323);
    const int32_t v326 = N(v292, v321); const int32_t v327 = X(v292, v321);
    const int32_t v328 = N(v294, v327); const int32_t v331 = X(v324, v326);
    const int32_t v332 = N(v325, v328); const int32_t v335 = X(r2, v331);
    const int32_t v336 = N(v332, v335); out[2 * out_stride] = v336;
    const int32_t r33 = in[33 * stride]; const int32_t v339 = X(r33, v331);
    const int32_t v340 = N(v332, v339); out[3 * out_stride] = v340;
    const int32_t r34 = in[34 * stride]; const int32_t v342 = N(r33, r34);
    const int32_t v343 = X(r33, r34); const int32_t v344 = N(v320, v342);
    const int32_t v345 = X(v320, v342); const int32_t v346 = N(v321, v343);
    const int32_t v347 = X(v321, v343); const int32_t v348 = N(v345, v346);
    const int32_t v349 = X(v345, v346); const int32_t v351 = X(v239, v344);
    const int32_t v352 = N(v243, v351); const int32_t v353 = X(v243, v351);
    const int32_t v354 = N(v241, v349); const int32_t v355 = X(v241, v349);
    const int32_t v356 = N(v245, v355); const int32_t v359 = X(v352, v354);
    const int32_t v360 = N(v353, v356); const int32_t v361 = X(v353, v356);
    const int32_t v363 = X(v240, v348); const int32_t v364 = N(v244, v363);
    const int32_t v365 = X(v244, v363); const int32_t v366 = N(v242, v347);
    const int32_t v367 = X(v242, v347); const int32_t v368 = N(v246, v367);
    const int32_t v370 = N(v364, v366); const int32_t v371 = X(v364, v366);
    const int32_t v372 = N(v365, v368); const int32_t v377 = X(v359, v370);
    const int32_t v378 = N(v360, v371); const int32_t v379 = X(v360, v371);
    const int32_t v380 = N(v361, v372); const int32_t v385 = X(v256, v377);
    const int32_t v386 = N(v379, v385); const int32_t v387 = X(v379, v385);
    const int32_t v388 = N(v257, v378); const int32_t v389 = X(v257, v378);
    const int32_t v390 = N(v380, v389); const int32_t v393 = X(v386, v388);
    const int32_t v394 = N(v387, v390); const int32_t v397 = X(r4, v393);
    const int32_t v398 = N(v394, v397); out[4 * out_stride] = v398;
    const int32_t r35 = in[35 * stride]; const int32_t v401 = X(r35, v393);
    const int32_t v402 = N(v394, v401); out[5 * out_stride] = v402;
    const int32_t r36 = in[36 * stride]; const int32_t v404 = N(r35, r36);
    const int32_t v405 = X(r35, r36); const int32_t v407 = X(v377, v404);
    const int32_t v408 = N(v379, v407); const int32_t v409 = X(v379, v407);
    const int32_t v410 = N(v378, v405); const int32_t v411 = X(v378, v405);
    const int32_t v412 = N(v380, v411); const int32_t v415 = X(v408, v410);
    const int32_t v416 = N(v409, v412); const int32_t v419 = X(r6, v415);
    const int32_t v420 = N(v416, v419); out[6 * out_stride] = v420;
    const int32_t r37 = in[37 * stride]; const int32_t v423 = X(r37, v415);
    const int32_t v424 = N(v416, v423); out[7 * out_stride] = v424;
    const int32_t r38 = in[38 * stride]; const int32_t v426 = N(r37, r38);
    const int32_t v427 = X(r37, r38); const int32_t v428 = N(v404, v426);
    const int32_t v429 = X(v404, v426); const int32_t v430 = N(v405, v427);
    const int32_t v431 = X(v405, v427); const int32_t v432 = N(v429, v430);
    const int32_t v433 = X(v429, v430); const int32_t v434 = N(v344, v428);
    const int32_t v435 = X(v344, v428); const int32_t v436 = N(v349, v433);
    const int32_t v437 = X(v349, v433); const int32_t v438 = N(v435, v436);
    const int32_t v439 = X(v435, v436); const int32_t v440 = N(v348, v432);
    const int32_t v441 = X(v348, v432); const int32_t v442 = N(v347, v431);
    const int32_t v443 = X(v347, v431); const int32_t v444 = N(v441, v442);
    const int32_t v445 = X(v441, v442); const int32_t v446 = N(v438, v440);
    const int32_t v447 = X(v438, v440); const int32_t v448 = N(v439, v444);
    const int32_t v449 = X(v439, v444); const int32_t v450 = N(v437, v445);
    const int32_t v451 = X(v437, v445); const int32_t v453 = X(v434, v76);
    const int32_t v454 = N(v119, v453); const int32_t v455 = X(v119, v453);
    const int32_t v456 = N(v115, v449); const int32_t v457 = X(v115, v449);
    const int32_t v458 = N(v123, v457); const int32_t v461 = X(v454, v456);
    const int32_t v462 = N(v455, v458); const int32_t v463 = X(v455, v458);
    const int32_t v465 = X(v113, v447); const int32_t v466 = N(v121, v465);
    const int32_t v467 = X(v121, v465); const int32_t v468 = N(v117, v451);
    const int32_t v469 = X(v117, v451); const int32_t v470 = N(v125, v469);
    const int32_t v472 = N(v466, v468); const int32_t v473 = X(v466, v468);
    const int32_t v474 = N(v467, v470); const int32_t v479 = X(v461, v472);
    const int32_t v480 = N(v462, v473); const int32_t v481 = X(v462, v473);
    const int32_t v482 = N(v463, v474); const int32_t v483 = X(v463, v474);
    const int32_t v487 = X(v112, v446); const int32_t v488 = N(v120, v487);
    const int32_t v489 = X(v120, v487); const int32_t v490 = N(v116, v450);
    const int32_t v491 = X(v116, v450); const int32_t v492 = N(v124, v491);
    const int32_t v495 = X(v488, v490); const int32_t v496 = N(v489, v492);
    const int32_t v497 = X(v489, v492); const int32_t v499 = X(v114, v448);
    const int32_t v500 = N(v122, v499); const int32_t v501 = X(v122, v499);
    const int32_t v502 = N(v118, v443); const int32_t v503 = X(v118, v443);
    const int32_t v504 = N(v103, v503); const int32_t v506 = N(v500, v502);
    const int32_t v507 = X(v500, v502); const int32_t v508 = N(v501, v504);
    const int32_t v512 = N(v495, v506); const int32_t v513 = X(v495, v506);
    const int32_t v514 = N(v496, v507); const int32_t v515 = X(v496, v507);
    const int32_t v516 = N(v497, v508); const int32_t v527 = X(v479, v512);
    const int32_t v528 = N(v480, v513); const int32_t v529 = X(v480, v513);
    const int32_t v530 = N(v481, v514); const int32_t v531 = X(v481, v514);
    const int32_t v532 = N(v482, v515); const int32_t v533 = X(v482, v515);
    const int32_t v534 = N(v483, v516); const int32_t v543 = X(v140, v527);
    const int32_t v544 = N(v531, v543); const int32_t v545 = X(v531, v543);
    const int32_t v546 = N(v145, v529); const int32_t v547 = X(v145, v529);
    const int32_t v548 = N(v533, v547); const int32_t v551 = X(v544, v546);
    const int32_t v552 = N(v545, v548); const int32_t v553 = X(v545, v548);
    const int32_t v555 = X(v144, v528); const int32_t v556 = N(v532, v555);
    const int32_t v557 = X(v532, v555); const int32_t v558 = N(v143, v530);
    const int32_t v559 = X(v143, v530); const int32_t v560 = N(v534, v559);
    const int32_t v562 = N(v556, v558); const int32_t v563 = X(v556, v558);
    const int32_t v564 = N(v557, v560); const int32_t v569 = X(v551, v562);
    const int32_t v570 = N(v552, v563); const int32_t v571 = X(v552, v563);
    const int32_t v572 = N(v553, v564); const int32_t v577 = X(v128, v569);
    const int32_t v578 = N(v571, v577); const int32_t v579 = X(v571, v577);
    const int32_t v580 = N(v129, v570); const int32_t v581 = X(v129, v570);
    const int32_t v582 = N(v572, v581); const int32_t v585 = X(v578, v580);
    const int32_t v586 = N(v579, v582); const int32_t v589 = X(r8, v585);
    const int32_t v590 = N(v586, v589); out[8 * out_stride] = v590;
    const int32_t r39 = in[39 * stride]; const int32_t v593 = X(r39, v585);
    const int32_t v594 = N(v586, v593); out[9 * out_stride] = v594;
    const int32_t r40 = in[40 * stride]; const int32_t v596 = N(r39, r40);
    const int32_t v597 = X(r39, r40); const int32_t v599 = X(v569, v596);
    const int32_t v600 = N(v571, v599); const int32_t v601 = X(v571, v599);
    const int32_t v602 = N(v570, v597); const int32_t v603 = X(v570, v597);
    const int32_t v604 = N(v572, v603); const int32_t v607 = X(v600, v602);
    const int32_t v608 = N(v601, v604); const int32_t v611 = X(r10, v607);
    const int32_t v612 = N(v608, v611); out[10 * out_stride] = v612;
    const int32_t r41 = in[41 * stride]; const int32_t v615 = X(r41, v607);
    const int32_t v616 = N(v608, v615); out[11 * out_stride] = v616;
    const int32_t r42 = in[42 * stride]; const int32_t v618 = N(r41, r42);
    const int32_t v619 = X(r41, r42); const int32_t v620 = N(v596, v618);
    const int32_t v621 = X(v596, v618); const int32_t v622 = N(v597, v619);
    const int32_t v623 = X(v597, v619); const int32_t v624 = N(v621, v622);
    const int32_t v625 = X(v621, v622); const int32_t v627 = X(v527, v620);
    const int32_t v628 = N(v531, v627); const int32_t v629 = X(v531, v627);
    const int32_t v630 = N(v529, v625); const int32_t v631 = X(v529, v625);
    const int32_t v632 = N(v533, v631); const int32_t v635 = X(v628, v630);
    const int32_t v636 = N(v629, v632); const int32_t v637 = X(v629, v632);
    const int32_t v639 = X(v528, v624); const int32_t v640 = N(v532, v639);
    const int32_t v641 = X(v532, v639); const int32_t v642 = N(v530, v623);
    const int32_t v643 = X(v530, v623); const int32_t v644 = N(v534, v643);
    const int32_t v646 = N(v640, v642); const int32_t v647 = X(v640, v642);
    const int32_t v648 = N(v641, v644); const int32_t v653 = X(v635, v646);
    const int32_t v654 = N(v636, v647); const int32_t v655 = X(v636, v647);
    const int32_t v656 = N(v637, v648); const int32_t v661 = X(v138, v653);
    const int32_t v662 = N(v655, v661); const int32_t v663 = X(v655, v661);
    const int32_t v664 = N(v139, v654); const int32_t v665 = X(v139, v654);
    const int32_t v666 = N(v656, v665); const int32_t v669 = X(v662, v664);
    const int32_t v670 = N(v663, v666); const int32_t v673 = X(r12, v669);
    const int32_t v674 = N(v670, v673); out[12 * out_stride] = v674;
    const int32_t r43 = in[43 * stride]; const int32_t v677 = X(r43, v669);
    const int32_t v678 = N(v670, v677); out[13 * out_stride] = v678;
    const int32_t r44 = in[44 * stride]; const int32_t v680 = N(r43, r44);
    const int32_t v681 = X(r43, r44); const int32_t v683 = X(v653, v680);
    const int32_t v684 = N(v655, v683); const int32_t v685 = X(v655, v683);
    const int32_t v686 = N(v654, v681); const int32_t v687 = X(v654, v681);
    const int32_t v688 = N(v656, v687); const int32_t v691 = X(v684, v686);
    const int32_t v692 = N(v685, v688); const int32_t v695 = X(r14, v691);
    const int32_t v696 = N(v692, v695); out[14 * out_stride] = v696;
    const int32_t r45 = in[45 * stride]; const int32_t v699 = X(r45, v691);
    const int32_t v700 = N(v692, v699); out[15 * out_stride] = v700;
}

#undef N
#undef X
#endif
